# The whole project in a few words: `make` lists them. Each needs nothing set up beforehand.
#   CONFIG=configs/X.yaml   what to train          ARGS="..."           further flags
#   PYTHON=python3.12       which interpreter      VENV=folder          another environment

CONFIG ?= configs/quickstart.yaml
ARGS ?=
PYTHON ?=
VENV ?= .venv
RUN := $(VENV)/bin/python
WORKERS ?= 2
CHECKED := engine writers benchmarks tools tests setup.py

.DEFAULT_GOAL := help
.PHONY: help setup train report test test-all browser lint format ffcv-wheel check-wheel image clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo '  with CONFIG=configs/X.yaml, ARGS="--train.epochs=3", PYTHON=python3.12, VENV=folder'

setup: ## .venv with everything, made once (train and test do it by themselves)
	@PYTHON='$(PYTHON)' VENV='$(VENV)' sh tools/setup.sh

train: setup ## set up, write the data, train CONFIG (configs/quickstart.yaml)
	@data=$$($(RUN) -m writers.prepare --config-file '$(CONFIG)' $(ARGS)) \
		&& exec $(RUN) -m engine.train --config-file '$(CONFIG)' $$data $(ARGS)

report: setup ## report/index.html from runs/ and benchmarks/results (ARGS: see --help)
	@mkdir -p runs
	@$(RUN) -m benchmarks.report $(ARGS)

test: setup ## set up, run all tests (but the slow ones and those for a GPU), WORKERS at a time
	@$(RUN) -m pytest -q -n $(WORKERS) --dist worksteal $(ARGS)

test-all: setup ## the slow tests and those for a GPU as well
	@$(RUN) -m pytest -q -m 'slow or gpu or not slow' $(ARGS)

browser: setup ## what tests/benchmarks/report/test_browser.py needs: chromium (by apt), Playwright, axe-core
	@VENV='$(VENV)' sh tools/browser.sh

lint: setup ## ruff, mypy, and who may import whom (import-linter)
	@$(RUN) -m ruff check $(CHECKED)
	@$(RUN) -m ruff format --check $(CHECKED)
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache

format: setup ## let ruff put the code into form
	@$(RUN) -m ruff format $(CHECKED)

ffcv-wheel: ## a portable FFCV wheel in wheelhouse/
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && "$$python" -m tools.ffcv_wheel

check-wheel: ## prove that wheel: set up where compilers, headers and OpenCV are hidden
	@PYTHON='$(PYTHON)' sh tools/check_wheel.sh

image: ## a Docker image (untested)
	docker build --tag ffcv-engine .

clean: ## remove .venv and caches; data, runs and wheelhouse stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find engine writers benchmarks tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
