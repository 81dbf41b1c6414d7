# make install | demo | test | check — each first sets up .venv on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
PROJECTS := $(wildcard plugins/*/pyproject.toml)
SOURCES := mmstream beam_jobs plugins tests examples benchmarks

.PHONY: install demo test check

install: .venv/installed

.venv/installed: pyproject.toml requirements.txt constraints.txt $(PROJECTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt \
		--requirement requirements.txt --editable '.[dev]'
	touch $@

test: install
	$(BIN)/pytest -n auto -m "not slow"

check: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto
