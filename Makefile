# `make` prints what there is. All that is needed: git, make and a Python >= 3.11.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed$(if $(EXTRA),-$(EXTRA))
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.13 $(wildcard $(HOME)/.pyenv/versions/3.13*/bin/python) python3.12 \
	$(wildcard $(HOME)/.pyenv/versions/3.12*/bin/python) python3 python3.11)
WORKDIR ?= runs/electrodes

.PHONY: help install train test test-fast lint format docs wheel clean
help:
	@echo "make install     makes the environment $(VENV) and installs what requirements.txt names; nothing else"
	@echo "make train       trains a U-Net++ on synthetic battery X-rays and scores it: about four minutes on two CPU cores"
	@echo "make test        lints, checks types and runs every test: about fifteen minutes on two cores"
	@echo "make test-fast   the quick part of it: a minute"
	@echo "make lint        ruff and mypy"
	@echo "make format      formats the code"
	@echo "make docs        builds the documentation into build/site/"
	@echo "make wheel       builds the package into dist/"
	@echo "make clean       deletes $(VENV) and what was built"
	@echo
	@echo "Each makes the environment first if it is not there. Variables:"
	@echo "  PYTHON=/path/to/python   the interpreter (default: the newest one found)"
	@echo "  EXTRA=cuda13             also install for an accelerator (cuda12, cuda13, tpu), for Kubernetes (k8s), for buckets"
	@echo "                           (gcs), ...; several: EXTRA=cuda13,k8s"
	@echo "  WORKDIR=runs/mine        the folder of the run that \`make train\` makes"
	@echo "  ARGS=\"...\"               further flags for run_train.py, or for pytest"

install: $(STAMP)
	@echo "$(VENV) is ready: \`source $(BIN)/activate\`, then \`unet-jax --help\`"

train: $(STAMP)
	$(BIN)/python run_train.py --config=configs/default.py --workdir=$(WORKDIR) $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

# The inner loop: without the files in `LONGEST` of tests/conftest.py and the tests marked slow.
test-fast: lint
	$(BIN)/python -m pytest -m 'not slow' $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The variable silences a notice about the future of the theme.
docs: $(STAMP)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

wheel: $(STAMP)
	rm -rf build/lib build/bdist.* dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir dist .
	rm -rf build/lib build/bdist.*
	@ls dist

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
	echo "Installing $$(grep -c == requirements.txt) packages into $(VENV) with Python $${version%% *} ($$python):"; \
	echo "a download of about 400 MB, 1.6 GB on disk, one to four minutes. A dot is a package found."; \
	install() { $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off "$$@" | awk ' \
		/^(Collecting|Processing)/ { printf "."; fflush() } \
		/^Installing collected/ { print "\nunpacking ..."; fflush() }'; }; \
	install -r requirements.txt; \
	install -c requirements.txt -e '.$(if $(EXTRA),[$(EXTRA)])'; \
	touch $(STAMP); \
	echo "installed"

FORCE:

clean:
	rm -rf $(VENV) *.egg-info build dist
