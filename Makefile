# Every target makes what it needs: the virtual environment in .venv, and the dependencies in it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := .venv/.demo
DOCS := .venv/.docs
# One more than there are cores: many tests wait for a process or a clock.
WORKERS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# Tests start some hundred processes, which would each compile the package again.
export PYTHONDONTWRITEBYTECODE :=

# The tests of `make test-fast`: rules, laws and whole values; no server is started and no jail.
FAST := tests/unit/test_ir.py tests/unit/test_sse.py tests/unit/test_schema_refs.py \
    tests/unit/test_schema_merge.py tests/unit/test_schema_strict.py tests/test_architecture.py tests/test_history.py tests/test_loop.py \
    tests/test_repeated.py tests/test_restore.py tests/test_testing.py \
    tests/tools/test_toolset.py tests/tools/test_validate.py tests/tools/test_docstrings.py \
    tests/profiles/test_settings.py

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-fast fuzz mutants check check-all check-code collected bench format docs release clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --editable . --group dev
	@touch $(STAMP) $(DEMO)

# What the library itself needs, and no tool of its developers.
$(DEMO): pyproject.toml
	@test -x $(BIN)/pip || { echo "making .venv ..."; $(PYTHON) -m venv .venv; }
	@echo "installing polycall and what it needs into .venv: about 30 packages ..."
	@$(BIN)/pip install --disable-pip-version-check --progress-bar on --editable . \
	    | grep -E '^(Downloading|Successfully)' || true
	@$(BIN)/python -c 'import polycall.client'
	@touch $(DEMO)

demo: $(DEMO)  ## the tool cycle through every vendor's protocol, offline
	@$(BIN)/polycall demo

test-fast: $(STAMP)  ## a chosen part of the tests, under a minute
	$(BIN)/pytest --quiet $(FAST)

test: $(STAMP)  ## all tests but the large matrices, side by side
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not slow'

test-all: $(STAMP)  ## all tests, the large matrices too
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

fuzz: $(STAMP)  ## the laws, with new cases each time
	$(BIN)/pytest --numprocesses $(WORKERS) --hypothesis-profile fuzz \
	    $$(grep -rl 'from hypothesis' tests --include='test_*.py')

mutants: $(STAMP)  ## change 60 lines one at a time; list the changes that no test notices
	$(BIN)/python -m bench.mutants

check-code: $(STAMP)  ## format, lint, types, floors
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Pyright takes one processor. Meanwhile another rewrites the asserts of all tests, for all workers.
collected: $(STAMP)
	-@$(BIN)/pytest --collect-only -qq >/dev/null

check: $(STAMP)  ## format, lint, types, floors, tests: what CI runs
	$(MAKE) --jobs=2 check-code collected
	$(MAKE) test

check-all: $(STAMP)  ## check, with the large matrices
	$(MAKE) --jobs=2 check-code collected
	$(MAKE) test-all

bench: $(STAMP)  ## speed and memory, as ratios in one run
	$(BIN)/python -m bench

# The reference shows names of extras too.
$(DOCS): $(DEMO)
	$(PIP) --upgrade 'pip>=25.1'
	$(PIP) --editable '.[durable,mcp]' --group docs
	@touch $(DOCS)

docs: $(DOCS)  ## the documentation site, in build/site
	$(BIN)/python deploy/docs_site.py

release: $(STAMP)  ## the wheel and its bill of materials, in dist
	rm -rf dist
	$(BIN)/python -m hatchling build -t wheel
	$(BIN)/cyclonedx-py requirements deploy/requirements.lock --pyproject pyproject.toml \
	    --output-reproducible --of JSON -o dist/polycall.cdx.json

format: $(STAMP)  ## rewrite files to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove everything that was made
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
