"""A function of Python with many arguments, each call a task of one job array of Slurm."""

import math

from resop_client import Resop


def height(x: float, v: float) -> float:
    """Return the largest height of a pendulum."""
    highest = 0.0
    for _ in range(2000):
        v -= 0.01 * math.sin(x)
        x += 0.01 * v
        highest = max(highest, 1 - math.cos(x))
    return highest


grid = [(x / 10, v / 10) for x in range(1, 4) for v in range(0, 10, 3)]
with Resop() as hpc, hpc.executor(time_limit=5) as pool:
    for (x, v), found in zip(grid, pool.map(height, *zip(*grid, strict=False)), strict=True):
        print(f"{x:.1f} {v:.1f} {found:.4f}")
