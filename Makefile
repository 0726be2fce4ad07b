# Everything runs in .venv, and each target does the set-up it needs. `make demo` and `make test` are all a new user types.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CODE := penstock streams inference_workers autoscaler
READY := $(VENV)/.ready
# The peers of the benchmark have libraries that disagree with ours.
PEERS := .venv-peers
PEERS_READY := $(PEERS)/.ready

.PHONY: setup demo test check format bench clean

setup: $(READY)

# Hash-pinned, one file for everything; the project itself without dependencies and without a download for its build.
$(READY): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Penstock needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar on --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	$(BIN)/penstock demo --report demo-report $(ARGS)

test: setup
	$(BIN)/python -m pytest $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_docs_links.py

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(PEERS_READY): requirements/peers.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check --quiet --progress-bar on --require-hashes -r requirements/peers.txt
	@touch $@

bench: setup $(PEERS_READY)
	$(BIN)/python benchmarks/decision_speed.py
	$(BIN)/python benchmarks/idle_cost.py
	$(BIN)/penstock bench data-plane --report bench-report $(ARGS)

clean:
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
