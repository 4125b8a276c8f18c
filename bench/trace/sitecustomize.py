"""Python runs this at the start of each process that has this folder in its PYTHONPATH."""

import sys

import bench.trace

if sys.orig_argv[1:3] == ["-P", "-m"] and sys.orig_argv[3] in bench.trace.MODULES:
    bench.trace.start()
