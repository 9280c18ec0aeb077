# The commands of the README and of CONTRIBUTING.md, and the parts they are made of.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Tests start hundreds of processes: each would compile the package and its tests again.
export PYTHONDONTWRITEBYTECODE :=

# Tests run in as many processes; the tests of a file share what they prepare, so they stay together.
JOBS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: demo check test test-all tests lint types system-packages clean

# Search a small network for handwritten digits: forty trials, the best five at the end.
demo: $(VENV)/installed
	$(BIN)/hpo run studies/digits_dnn.yaml

# What answers in a few minutes: lint, types, and the tests of functions and of the store.
check: lint
	@$(MAKE) --no-print-directory --jobs 2 types tests TESTS="tests/unit tests/store --hypothesis-profile=check"

# Everything, with a sample of the largest matrices.
test: system-packages lint
	@$(MAKE) --no-print-directory --jobs 2 types tests

# Everything.
test-all: system-packages lint
	@$(MAKE) --no-print-directory --jobs 2 types tests TESTS="-m ''"

# What some tests need of the system: by apt, where it may be used, and told before; without it, they are left out.
system-packages:
	@.ci/system-packages

tests: $(VENV)/installed-dev
	$(PYTEST) $(TESTS)

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-dev
	$(BIN)/mypy

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "hpo-service needs Python 3.11 or newer")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/system-packages $(notdir $(PYTHON))-venv  # Debian's is apart
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): a few minutes the first time"
	$(PIP) --editable .
	@touch $@

$(VENV)/installed-dev: $(BIN)/python pyproject.toml constraints.txt
	@echo "installing into $(VENV): a few minutes the first time"
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
