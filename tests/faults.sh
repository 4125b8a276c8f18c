#!/bin/sh
# Repeats the fault tests while Redis fails over: `tests/faults.sh ROUNDS SECONDS` (default: 20
# rounds, a failover every 60 seconds; 0 for none). Each test counts the lines that steps have
# written to files on the login node. The last test of a round does nothing but that, with clients
# that repeat what is refused. Stops at the first round in which something fails; with CONTINUE=yes
# it continues, and says at the end how many rounds failed.
set -eu
cd "$(dirname "$0")/.."

rounds=${1:-20} seconds=${2:-60} round=0 failed=0
if [ "$seconds" != 0 ]; then
    export REDIS_FAILS_EVERY="$seconds" FAILOVER_SECONDS="$seconds" FAILOVERS=2
fi
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "round $round of $rounds"
    if ! .venv/bin/python -m pytest -q -s tests/acceptance/test_faults.py \
        tests/acceptance/test_failover.py; then
        failed=$((failed + 1))
        if [ "${CONTINUE:-}" != yes ]; then exit 1; fi
    fi
done
echo "$failed of $rounds rounds failed"
exit "$((failed > 0))"
