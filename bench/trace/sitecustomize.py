"""Start tracing; Python runs this in each process with this folder in its PYTHONPATH."""

import sys

import bench.trace

if sys.orig_argv[1:3] == ["-P", "-m"] and sys.orig_argv[3] in bench.trace.MODULES:
    bench.trace.start()
