"""Python runs this at the start of each process that has this folder in its PYTHONPATH."""

import sys

import bench.trace

if sys.orig_argv[1:2] == ["-m"] and sys.orig_argv[2] in bench.trace.MODULES:
    bench.trace.start()
