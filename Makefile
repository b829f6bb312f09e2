# The project's commands: `make` lists them. Each installs what it needs, once.
#   CONFIG=configs/X.yaml   what to train          ARGS="..."           more flags
#   PYTHON=python3.12       which interpreter      VENV=folder          another environment
#   WORKERS=2               processes for the tests

CONFIG ?= configs/quickstart.yaml
ARGS ?=
PYTHON ?=
VENV ?= .venv
RUN := $(VENV)/bin/python
WORKERS ?= 2
CHECKED := engine writers benchmarks tools tests setup.py
# A worker starts on its half of the modules and steals tests from the other's end when done, so
# that nearly every module's fixtures are set up by one worker only.
PYTEST := $(RUN) -m pytest -q -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup train report test test-slow test-all browser lint format ffcv-wheel wheelhouse check-wheel image clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo '  with CONFIG=configs/X.yaml, ARGS="--train.epochs=3", PYTHON=python3.12, VENV=folder'

setup: ## create .venv with all dependencies (the other commands do this when needed)
	@PYTHON='$(PYTHON)' VENV='$(VENV)' sh tools/setup.sh

train: setup ## write the data if it is missing, train CONFIG (configs/quickstart.yaml)
	@data=$$($(RUN) -m writers.prepare --config-file '$(CONFIG)' $(ARGS)) \
		&& exec $(RUN) -m engine.train --config-file '$(CONFIG)' $$data $(ARGS)

report: setup ## report/index.html from runs/ and benchmarks/results (ARGS=--help: its flags)
	@mkdir -p runs
	@$(RUN) -m benchmarks.report $(ARGS)

test: setup ## all tests except slow ones and those that need a GPU
	@$(PYTEST) $(ARGS)

test-slow: setup ## the slow tests that need no GPU
	@$(PYTEST) -m 'slow and not long and not gpu' $(ARGS)

test-all: setup ## all tests, those of half an hour and those for a GPU included, one at a time
	@$(RUN) -m pytest -q -m 'slow or long or gpu or not slow' $(ARGS)

browser: setup ## install what the browser tests need: chromium (by apt), Playwright, axe-core
	@VENV='$(VENV)' sh tools/browser.sh

lint: setup ## ruff, mypy, and the import rules of the packages (import-linter)
	@$(RUN) -m ruff check $(CHECKED)
	@$(RUN) -m ruff format --check $(CHECKED)
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports --no-logo --no-cache

format: setup ## format the code with ruff
	@$(RUN) -m ruff format $(CHECKED)

ffcv-wheel: ## build a portable FFCV wheel into wheelhouse/
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && "$$python" -m tools.ffcv_wheel

wheelhouse: ## that wheel and others for a machine without a package index (ARGS=--all: all but torch)
	@python=$$(PYTHON='$(PYTHON)' sh tools/find_python.sh) && "$$python" -m tools.wheelhouse $(ARGS)

check-wheel: ## install and use that wheel with compilers, headers and OpenCV hidden
	@PYTHON='$(PYTHON)' sh tools/check_wheel.sh

image: ## build a Docker image (untested)
	docker build --tag ffcv-engine .

clean: ## remove .venv and caches; data, runs and wheelhouse are kept
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find engine writers benchmarks tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
