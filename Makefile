# The two commands: `make demo` and `make test`. Both set up what they need; PYTHON=python3.12 names another Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
CODE := $(wildcard mainspring tests examples benchmarks tools)

.PHONY: help demo test pytest check format lint mypy pyright imports source lines import-time bench lock system clean

help:
	@echo 'make demo         the closed loop on real flights, at http://127.0.0.1:8000/console'
	@echo 'make test         every check and every test'
	@echo 'make check        the checks alone; `make -k check` runs all of them past a failure'
	@echo 'make bench        every benchmark'
	@echo 'make lock         resolve the dependencies anew into constraints.txt'
	@echo 'make system       what the operating system must have (apt-get, as root)'
	@echo 'make clean        remove what these commands made'

demo: $(VENV)/.examples
	$(BIN)/mainspring demo

test: check pytest

pytest: $(VENV)/.dev
	$(BIN)/python -m pytest --quiet -n 2

check: format lint mypy pyright imports source lines import-time

format: $(VENV)/.dev
	$(BIN)/ruff format --check --quiet $(CODE)

lint: $(VENV)/.dev
	$(BIN)/ruff check --quiet $(CODE)

mypy: $(VENV)/.dev
	$(BIN)/mypy $(filter-out benchmarks,$(CODE))

pyright: $(VENV)/.dev
	$(BIN)/pyright

imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo

source: $(VENV)/.dev
	$(BIN)/python tools/check_source.py

lines: $(VENV)/.dev
	$(BIN)/python tools/count_lines.py

import-time: $(VENV)/.dev
	$(BIN)/python tools/import_time.py

bench: $(VENV)/.dev
	@for file in $(wildcard benchmarks/*.py); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

lock: $(VENV)/.python
	rm -rf .lock
	$(BIN)/python -m venv .lock
	.lock/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,examples]'
	.lock/bin/python -m pip freeze --exclude-editable > constraints.txt
	rm -rf .lock

system:
	sh tools/system.sh $(PYTHON)

$(VENV)/.python:
	sh tools/system.sh $(PYTHON)
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.examples: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'installing packages (about a minute)'
	$(INSTALL) --editable '.[examples]'
	touch $@

$(VENV)/.dev: $(VENV)/.examples
	$(INSTALL) --editable '.[dev,examples]'
	touch $@

clean:
	rm -rf $(VENV) .lock dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +
