# Everything runs in a virtual environment of its own; nothing is downloaded but Python packages.
#
#   make demo     edit the bundled clip with the bundled model
#   make test     the whole CPU test suite
#   make test-browser   the live page in headless Chromium
#   make check    formatting, lint, direction of imports, types
#   make soak     long runs on streams (tests marked `slow`)
#   make bench    measure this machine
#   make clean    remove the virtual environment
#
# Variables: PYTHON is an interpreter of 3.11 or newer, VENV the environment's folder, ARGS goes to the command.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest
CHECKED := vivace tests examples
AS_ROOT := $(if $(filter-out 0,$(shell id -u)),sudo)

.PHONY: help demo test test-browser check soak bench clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.base
	$(BIN)/vivace demo $(ARGS)

# one thread each, because the two processes share the cores
test: $(VENV)/.test
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not slow and not gpu and not browser" $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/lint-imports --no-logo
	$(BIN)/pyright --pythonpath $(BIN)/python

# the page in a real browser; Chromium is installed where it is missing and apt-get can do it
test-browser: $(VENV)/.test
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
	  command -v apt-get >/dev/null && echo "Chromium is missing; installing it with apt-get." && \
	  $(AS_ROOT) apt-get update -q && $(AS_ROOT) apt-get install -q -y chromium; } || { \
	  echo "The tests of the page need Chromium, which could not be installed: apt-get is not there or not" \
	    "allowed. Install it so that 'chromium' is found, then run make test-browser again."; exit 1; }
	$(PYTEST) -m browser $(ARGS)

soak: $(VENV)/.test
	$(PYTEST) -m slow --durations=0 $(ARGS)

bench: $(VENV)/.base
	$(BIN)/vivace bench $(ARGS)

clean:
	rm -rf $(VENV)

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Vivace needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo not there)." \
	    "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(VENV)/.base: pyproject.toml | $(VENV)/.made
	@command -v nvidia-smi >/dev/null || \
	  echo "No NVIDIA driver here: if pip starts to fetch gigabytes of CUDA, README.md says how to avoid it."
	$(PIP) install --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	$(PIP) install --quiet --editable '.[test]'
	@touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@
