"""Files of the cluster as if they were here: any library that knows fsspec takes resop://."""

import csv

import fsspec

with fsspec.open("resop://example/a.csv", "w", newline="") as file:
    csv.writer(file).writerows([["x", "y"], [1, 2], [3, 4]])

with fsspec.open("resop://example/a.csv", "r", newline="") as file:
    print(sum(int(row["y"]) for row in csv.DictReader(file)))

# The same with pandas: pandas.read_csv("resop://example/a.csv")["y"].sum()

fs = fsspec.filesystem("resop")
print(fs.ls("example", detail=False))
fs.rm("example", recursive=True)
