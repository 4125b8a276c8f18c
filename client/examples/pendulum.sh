#!/bin/sh
# One run of a sweep: the largest height of a pendulum that starts at X0 with speed V0.
awk -v x="$X0" -v v="$V0" 'BEGIN {
    for (i = 0; i < 2000; i++) { v -= 0.01 * sin(x); x += 0.01 * v; h = 1 - cos(x); if (h > m) m = h }
    print m
}' >"height-$SLURM_ARRAY_TASK_ID.txt"
