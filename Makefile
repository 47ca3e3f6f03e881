# Everything runs in a virtual environment of its own. `make demo` is the place to start.
SHELL := /bin/bash -o pipefail
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help install demo test check format lint types docs readme reasoner clean

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/'

install: $(INSTALLED)  ## make the virtual environment

$(INSTALLED): pyproject.toml constraints.txt
	python3 -m venv $(VENV) || (python3 -m pip install --user virtualenv && python3 -m virtualenv $(VENV))
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $(INSTALLED)

demo: $(INSTALLED)  ## plain decoding and laconic on the same problems: table, out/demo.html, out/demo.json
	mkdir -p out
	$(BIN)/laconic compare --n 84 --report out/demo.html --json out/demo.json

test: $(INSTALLED)  ## the tests, in WORKERS processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: $(INSTALLED) lint types docs test readme  ## the one gate: format, lint, types, docs, tests, the README's commands

format: $(INSTALLED)  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(INSTALLED)
	$(BIN)/mypy

docs: $(INSTALLED)  ## are the method pages and the index those that the cards give?
	$(BIN)/python scripts/method_pages.py --check

readme: $(INSTALLED)  ## run the README's own commands
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python scripts/run_readme.py README.md

reasoner: $(INSTALLED)  ## retrain the bundled models from nothing (up to 3 hours on two cores)
	$(BIN)/python -m laconic.models.reasoner.train --out out/reasoner

clean:  ## remove what make made
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache
