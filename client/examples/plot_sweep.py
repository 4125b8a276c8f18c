"""A sweep from the laptop: submit, watch, collect, repeat what failed, plot."""

import sys
from pathlib import Path

from resop_client import Resop

hpc = Resop()  # the stored login, or RESOP_URL and RESOP_TOKEN
hpc.utils.mkdir("pendulum", parents=True)
sweep = hpc.sweep(
    Path(__file__).with_name("pendulum.sh"),
    X0=[0.2, 0.6, 1.0],
    V0=[0.0, 0.5, 1.0, 1.5],
    time_limit=5,
    chdir="pendulum",
)
if not sweep.wait(progress=True).succeeded:
    sweep.retry_failed().wait()
table = sweep.results("height-{index}.txt")
table.to_csv("heights.csv")
print(f"{len(table)} runs, highest: {max(table.column('height-{index}.txt')):.3f}")

try:
    from matplotlib import pyplot
except ImportError:
    sys.exit("heights.csv is written; to plot it: pip install matplotlib")
for x0 in sorted({row.X0 for row in table}):
    rows = [row for row in table if x0 == row.X0]
    heights = [row["height-{index}.txt"] for row in rows]
    pyplot.plot([row.V0 for row in rows], heights, marker="o", label=f"X0 = {x0}")
pyplot.xlabel("V0")
pyplot.ylabel("height")
pyplot.legend()
pyplot.savefig("heights.png")
