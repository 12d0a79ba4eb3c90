# `make train` and `make test` need git, make and a Python >= 3.11; each makes the environment first if it is not there.
#   PYTHON=/path/to/python   the interpreter to use (default: the newest that runs)
#   EXTRA=cuda13             also install for an accelerator: cuda12, cuda13 or tpu; k8s on Kubernetes (EXTRA=cuda13,k8s)
#   ARGS="..."               further flags for run_train.py, or for pytest
# `make test-fast` is for the inner loop: it leaves out the tests that train, start programs or compile whole networks
# (the files in `LONGEST` of tests/conftest.py, and what is marked slow).
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed$(if $(EXTRA),-$(EXTRA))
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python) python3.12 \
	$(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python) python3 python3.11)
WORKDIR ?= runs/electrodes

.PHONY: train test test-fast lint format clean
train: $(STAMP)
	$(BIN)/python run_train.py --config=configs/default.py --workdir=$(WORKDIR) $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

test-fast: lint
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A candidate counts only if it runs and can make an environment: a version manager's shim may be on PATH and fail.
# An environment made by another interpreter than an explicit PYTHON= is made anew.
$(STAMP): requirements.txt pyproject.toml $(if $(PYTHON),FORCE)
	@set -euo pipefail; \
	probe='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; \
	python=; for candidate in $(CANDIDATES); do \
		if "$$candidate" -c "$$probe" >/dev/null 2>&1; then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
		echo "No Python >= 3.11 with venv runs here (tried: $(CANDIDATES)). Install one, or give PYTHON=/path/to/python." >&2; exit 1; fi; \
	version=$$("$$python" -c 'import sys; print(sys.version, sys.base_prefix)'); \
	if [ -x $(BIN)/python ] && [ "$$version" = "$$(cat $(VENV)/.python 2>/dev/null)" ]; then \
		if [ -e $(STAMP) ] && [ $(STAMP) -nt requirements.txt ] && [ $(STAMP) -nt pyproject.toml ]; then exit 0; fi; \
	else "$$python" -m venv --clear $(VENV); echo "$$version" > $(VENV)/.python; fi; \
	echo "Installing into $(VENV) with $${version%% *} ($$python) ..."; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt -e '.$(if $(EXTRA),[$(EXTRA)])'; \
	touch $(STAMP)

FORCE:

clean:
	rm -rf $(VENV) *.egg-info
