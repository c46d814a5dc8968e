# make demo    the whole node on this machine, with a sample study, until Ctrl-C
# make test    everything, with real parts; make test-fast leaves out what takes long
# make lint    style, types, import contracts
# make bench   benchmarks beside peers, to bench.json; make bench ONLY=receive runs one area
# make lock    resolve the lock files anew

SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
RUNTIME_PACKAGES := libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 fonts-dejavu-core fonts-wqy-microhei
TEST_PACKAGES := $(RUNTIME_PACKAGES) $(shell cat tests/debian-packages.txt) \
	$(shell command -v npm >/dev/null || echo npm)

# Optional: it has no wheels, and builds by Python 3.11 and a C compiler alone.
RADIOMICS := "pyradiomics==3.0.1; python_version < '3.12'"

# Files of tests that may run side by side: in their order, so that the long ones come first.
SIDE_BY_SIDE := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast lint bench faults lock clean runtime-packages test-packages

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 to 3.13 is needed: install one, or say make PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(RADIOMICS) \
		|| echo "pyradiomics does not build here: what reads its features is tested elsewhere"
	@touch $@ $(VENV)/.runtime

# Debian packages: installed where apt may, else named. $(1): the packages, $(2): what for.
define debian
	@missing=$$(for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo="sudo -n"; \
	if command -v apt-get >/dev/null && $$sudo true 2>/dev/null; then \
		echo "installing for $(2):" $$missing; \
		{ $$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		$$sudo apt-get -qq install -y --no-install-recommends $$missing; } >/dev/null 2>&1 && exit 0; \
	fi; \
	echo "for $(2), install:" $$missing
endef

runtime-packages:
	$(call debian,$(RUNTIME_PACKAGES),PDF reports)

test-packages:
	$(call debian,$(TEST_PACKAGES),the tests)

demo: runtime-packages $(VENV)/.runtime
	@$(BIN)/dicom-node demo

test: test-packages $(VENV)/.dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not faults and not alone"
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) tests/faults
	$(BIN)/python -m pytest -m alone tests/integration

test-fast: test-packages $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow and not faults and not alone" $(SIDE_BY_SIDE) --numprocesses=3

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: test-packages $(VENV)/.dev
	$(BIN)/python tests/benchmarks/run.py $(ONLY)

faults: test-packages $(VENV)/.dev
	FAULTS=full $(BIN)/python -m pytest tests/faults --timeout=7200

lock:
	@command -v uv >/dev/null || { echo "uv is needed: pip install uv"; exit 1; }
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra inference --extra demo --extra dev pyproject.toml -o requirements-dev.lock
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate --extra inference --extra demo -c requirements-dev.lock pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info bench.json faults.json
