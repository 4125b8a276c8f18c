# PYTHON=/path/to/python3.12 chooses the interpreter of .venv, which is re-made when it is of another.
.PHONY: help run test check bench testbed testbed-stop clean

help:
	@echo "make run     set up if needed, start resop here, show it doing its main job"
	@echo "make test    set up if needed, check the code, run every test this machine can run"
	@echo "make check   format, lint, types, known vulnerabilities"
	@echo "make bench   our speed, row by row of the goals in docs/speed.md"
	@echo "make testbed   as root on Debian 12: a small HPC centre here (docs/testbed.md);"
	@echo "               make testbed-stop ends it"
	@echo "make clean   remove .venv and everything generated"

# exec: signals reach resop itself, not a shell in between.
run:
	@scripts/setup && exec .venv/bin/resop up --demo

test:
	@scripts/setup dev && scripts/packages && scripts/packages testbed && scripts/check \
		&& exec .venv/bin/python -m pytest -n 3 --dist loadgroup

check:
	@scripts/setup dev && scripts/check && exec .venv/bin/python scripts/audit.py

bench:
	@scripts/setup test && .venv/bin/python -m bench && exec .venv/bin/python -m bench.profile

testbed:
	@scripts/setup && scripts/packages testbed && exec .venv/bin/python -m testbed start

testbed-stop:
	@scripts/setup && exec .venv/bin/python -m testbed stop

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
