# PYTHON=/path/to/python3.12 chooses the interpreter of .venv, which is re-made when it is of another.
.PHONY: help run unit coverage lint test test-slurm packages check hooks bench testbed testbed-stop clean
pytest := .venv/bin/python -m pytest
# The tests start hundreds of processes, which would otherwise compile every module again.
unexport PYTHONDONTWRITEBYTECODE

help:
	@echo "make run       set up if needed, start resop here, show it doing its main job"
	@echo "make unit      the unit tests: half a minute, no process, no server, no Debian package"
	@echo "make coverage  the same, with the lines that they leave out"
	@echo "make lint      format, lint, docstrings, types, imports, texts, bandit"
	@echo "make test      all tests and checks; first installs what is missing (see make packages)"
	@echo "make test-slurm VERSION=24.11   as root: the tests with real Slurm, on 22.05, 24.11 or 26.05"
	@echo "make packages  install the Debian packages that the tests drive, after naming them"
	@echo "make check     make lint, and known vulnerabilities of the dependencies"
	@echo "make hooks     run make lint's quick checks before each commit (git hook)"
	@echo "make bench     our speed, row by row of the goals in docs/speed.md"
	@echo "make testbed   as root on Debian: a small HPC centre here (docs/testbed.md);"
	@echo "               make testbed-stop ends it"
	@echo "make clean     remove .venv and everything generated"

# exec: signals reach resop itself, not a shell in between.
run:
	@scripts/setup && exec .venv/bin/resop up --demo

unit:
	@scripts/setup test && exec $(pytest) tests/unit -q -n 2 -m 'not slow'

coverage:
	@scripts/setup test && exec $(pytest) tests/unit -q -n 2 --cov --cov-report=term-missing:skip-covered

lint:
	@scripts/setup dev && exec scripts/check

# The unit tests first: they fail soonest. Only their coverage is measured, since that would slow the
# processes that the other tests start and time.
test:
	@scripts/setup dev && scripts/packages tests && scripts/packages testbed && scripts/check \
		&& $(pytest) tests/unit -q -n 3 --cov --cov-report= \
		&& $(pytest) tests --ignore tests/unit -n 3 --dist loadgroup \
		&& scripts/test-slurm --answers 24.11 \
		&& echo "By themselves, the unit tests cover $$(.venv/bin/coverage report --format=total) % of the lines."

test-slurm:
	@exec scripts/test-slurm $(VERSION)

packages:
	@scripts/packages tests && exec scripts/packages testbed

check: lint
	@exec .venv/bin/python scripts/audit.py

hooks:
	@scripts/setup dev && exec .venv/bin/pre-commit install

bench:
	@scripts/setup test && .venv/bin/python -m bench && exec .venv/bin/python -m bench.profile

testbed:
	@scripts/setup && scripts/packages testbed && exec .venv/bin/python -m testbed start

testbed-stop:
	@scripts/setup && exec .venv/bin/python -m testbed stop

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage .coverage.*
	find . -name __pycache__ -prune -exec rm -rf {} +
