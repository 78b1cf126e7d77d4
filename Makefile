# Needs python3 (3.11 or newer), make and a package registry. `make help` lists what there is.

# Options for pytest, as in: make test PYTEST_ARGS="-m 'not slow' -n 2"
PYTEST_ARGS ?=
# Options for the benchmarks, as in: make bench BENCH_ARGS="--quick --only observer"
BENCH_ARGS ?=

# The first of these that runs and is new enough; or name one: make test PYTHON=/path/to/python
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$python"; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
# The stamps are touched last, so an install that failed or was interrupted leaves none that is up to date.
DEV := $(VENV)/.installed-dev
# All that the demo needs is part of dev; where dev is installed, it is used.
DEMO := $(if $(wildcard $(DEV)),$(DEV),$(VENV)/.installed-demo)

.DEFAULT_GOAL := help
.PHONY: help demo test notebook bench gpu-check lint clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO) ## time a GPT-2-shaped model for 20 s, execute the quickstart notebook, and say where its HTML lies
	$(BIN)/llm-latency time shape:gpt2 --threads 1 --new-tokens 16 --time-budget 20
	$(BIN)/python -m nbconvert --execute --to html --output-dir demo notebooks/quickstart.ipynb
	@echo "The executed notebook: file://$(CURDIR)/demo/quickstart.html"

test: $(DEV) ## run the tests against the installed package
	$(BIN)/python -Im pytest $(PYTEST_ARGS)

notebook: $(DEV) ## open JupyterLab on the notebooks
	$(BIN)/python -m jupyterlab notebooks

bench: $(DEV) ## run every benchmark, into docs/measurements
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

# No environment is made: a machine with a GPU has a torch that fits it. Without network; see docs/gpu.md.
gpu-check: ## run everything that needs an NVIDIA GPU, with the packages that PYTHON has (make gpu-check PYTHON=python3)
	PYTHONPATH="$(CURDIR):$(CURDIR)/pytest_plugin" "$(PYTHON)" benchmarks/gpu_check.py --out docs/measurements

lint: $(DEV) ## check style, formatting, types and import contracts
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

clean: ## remove build outputs and caches; the environment stays (to begin anew: rm -r .venv)
	rm -rf build demo dist .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

$(VENV)/.installed-%: pyproject.toml constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "llm-latency needs Python 3.11 or newer, and $(or $(PYTHON),no python3 here) is not."; \
		echo "Install one (python.org, or your system's packages), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; \
		exit 1; }
	@rm -f $@
	@echo "Installing into $(VENV) what $(MAKECMDGOALS) needs (once; PyTorch is a large download) ..."
	@$(BIN)/python -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || "$(PYTHON)" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,$*]'
	@touch $@
