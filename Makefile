# README's two commands: `make demo` and `make test`. Both set up .venv first if it is not there.
# PYTHON=python3.13 takes another one; what .venv has not is set up beside it, in .venv-3.13.
PYTHON ?= python3
minor = $(shell $(1) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
VERSION := $(call minor,$(PYTHON))
VENV := .venv$(if $(filter-out $(VERSION),$(call minor,.venv/bin/python)),-$(VERSION))
BIN := $(VENV)/bin
RUN := runs/digits
# cuda13, tpu ...: the extra of JAX for an accelerator, at the version of requirements.txt.
ACCELERATOR ?=

.PHONY: demo test test-fast lint docs

$(VENV)/.installed: requirements.txt pyproject.toml
	@test -n "$(VERSION)" || { echo "$(PYTHON) does not run: PYTHON=... takes another one" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt $(if $(ACCELERATOR),"jax[$(ACCELERATOR)]")
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python main.py --config=configs/digits.py:gca_uot --workdir=$(RUN)

test: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal

# While working: without the tests that take more than a few seconds each.
test-fast: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The site, its notebooks executed: docs/_build/html/index.html. Then each page is opened in a browser.
docs: $(VENV)/.docs
	PYTHONPATH=. $(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/python -m pytest -q tests/site.py

$(VENV)/.docs: $(VENV)/.installed docs/requirements.txt
	$(BIN)/python -m pip install --quiet -r docs/requirements.txt -c requirements.txt
	touch $@
