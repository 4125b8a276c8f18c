#!/bin/sh
# The fault tests, again and again: `tests/faults.sh 20`. Each counts the lines that steps have left
# in files on the login node; the first round in which one was run twice, or lost, ends it.
set -eu
cd "$(dirname "$0")/.."

rounds=${1:-20} round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "round $round of $rounds"
    .venv/bin/python -m pytest -x -q tests/acceptance/test_faults.py
done
