# `make demo` runs the main job, `make test` the checks; each sets up what it needs in .venv first.

SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-kills lint clean

demo: $(VENV)/demo.installed
	$(BIN)/catlipctl demo

# Threads that spin at OpenMP's barriers take the cores from the test beside.
test: export OMP_WAIT_POLICY := PASSIVE
test: lint
	$(BIN)/python -m pytest -m alone
	$(BIN)/python -m pytest -m 'not alone' -n 2 --dist worksteal --durations=10

# Ten minutes at most on two cores: what `make test` does a little of.
test-kills: export OMP_NUM_THREADS := 1
test-kills: $(VENV)/dev.installed
	$(BIN)/python tests/pretraining/kills.py

lint: $(VENV)/dev.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python 3.11 or newer is needed; try make PYTHON=python3.12")'
	@echo "creating $(VENV)"
	$(PYTHON) -m venv $(VENV)

# Extras are installed at the versions that were tested; about 3 GB, most of it torch.
$(VENV)/%.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing catlipctl[$*] into $(VENV)"
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[$*]' \
	    | grep --line-buffered -E '^(Downloading|Installing|Successfully|ERROR)' | cut -c1-200; exit $${PIPESTATUS[0]}
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
