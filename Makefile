# Every target makes what it needs: the virtual environment in .venv, and the dependencies in it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz check bench format clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $(STAMP)

demo: $(STAMP)  ## the tool cycle through every vendor's protocol, offline
	$(BIN)/polycall demo

test: $(STAMP)  ## all tests, side by side
	$(BIN)/pytest --numprocesses auto --dist loadfile

fuzz: $(STAMP)  ## the laws, with new cases each time
	$(BIN)/pytest --numprocesses auto --hypothesis-profile fuzz \
	    $$(grep -rl 'from hypothesis' tests --include='test_*.py')

check: $(STAMP)  ## format, lint, types, floors, tests: what CI runs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(MAKE) test

bench: $(STAMP)  ## speed and memory, as ratios in one run
	$(BIN)/python -m bench

format: $(STAMP)  ## rewrite files to the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove everything that was made
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
