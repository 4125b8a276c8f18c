#!/bin/sh
# Repeats the fault tests: `tests/faults.sh ROUNDS` (default: 20). Each test counts the lines that
# steps have written to files on the login node. Stops at the first round in which a step was lost
# or run twice.
set -eu
cd "$(dirname "$0")/.."

rounds=${1:-20} round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "round $round of $rounds"
    .venv/bin/python -m pytest -x -q tests/acceptance/test_faults.py
done
