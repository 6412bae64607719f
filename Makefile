# Every target sets up what it needs from the hash-locked requirements, and only when a lock has changed.
# A fresh machine needs Python 3.11 or later (with venv and pip), make and git.

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .venv-bench
NODE_TOOLS := .cache/conformance
CONFORMANCE := @modelcontextprotocol/conformance@0.1.16
WORKERS ?= auto
ARGS ?=

PIP_LOCKED := -m pip --disable-pip-version-check --quiet install --require-hashes --requirement
PIP_PROJECT := -m pip --disable-pip-version-check --quiet install --no-index --no-deps --no-build-isolation --editable .
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header --no-annotate

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo test test-slow check bench conformance boundary-compare lock clean

help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(VENV)/.dev-ready  ## install everything for development into .venv

demo: $(VENV)/.runtime-ready  ## the whole road on recorded attack events (ARGS="--interactive …")
	@$(VENV)/bin/remit demo $(ARGS)

test: $(VENV)/.dev-ready  ## all tests (ARGS="tests/gates -k quota", WORKERS=2)
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

test-slow: $(VENV)/.dev-ready  ## the tests that take a minute or more each
	@$(VENV)/bin/python -m pytest -n 2 -m slow --hypothesis-profile search $(ARGS)

check: $(VENV)/.dev-ready  ## style, types and import contracts
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo

bench: $(BENCH_VENV)/.ready  ## measure a governed call beside a direct one and FastMCP's proxy
	@$(BENCH_VENV)/bin/python -m bench $(ARGS)

conformance: $(VENV)/.dev-ready $(NODE_TOOLS)/.ready  ## the official MCP conformance suite against the gateway (needs npm)
	@$(VENV)/bin/python -m tests.conformance.run $(ARGS)

boundary-compare: $(VENV)/.dev-ready  ## 100,000 comparisons of the boundary's evaluator with its reference
	@$(VENV)/bin/python -m pytest tests/gates/test_boundary_compare.py --comparisons 100000 --timeout 1800 $(ARGS)

lock:  ## resolve the requirements anew (needs uv)
	@command -v uv >/dev/null || { echo 'error: `uv` is not on the PATH' >&2; echo 'hint: python3 -m pip install uv' >&2; exit 1; }
	$(LOCK) pyproject.toml requirements/runtime.in --output-file requirements/runtime.lock
	$(LOCK) pyproject.toml requirements/runtime.in requirements/dev.in --constraint requirements/runtime.lock \
		--output-file requirements/dev.lock
	$(LOCK) pyproject.toml requirements/runtime.in requirements/bench.in --constraint requirements/runtime.lock \
		--output-file requirements/bench.lock

clean:  ## remove everything that make and the tools have made
	rm -rf $(VENV) $(BENCH_VENV) .cache .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf build dist src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# dev.lock holds all of runtime.lock, so a development environment is ready for the demo too.
$(VENV)/.runtime-ready: requirements/runtime.lock pyproject.toml
	@$(call environment,$(VENV))
	@$(VENV)/bin/python $(PIP_LOCKED) requirements/runtime.lock
	@$(VENV)/bin/python $(PIP_PROJECT)
	@touch $@

$(VENV)/.dev-ready: requirements/dev.lock requirements/runtime.lock pyproject.toml
	@$(call environment,$(VENV))
	@$(VENV)/bin/python $(PIP_LOCKED) requirements/dev.lock
	@$(VENV)/bin/python $(PIP_PROJECT)
	@touch $@ $(VENV)/.runtime-ready

$(BENCH_VENV)/.ready: requirements/bench.lock pyproject.toml
	@$(call environment,$(BENCH_VENV))
	@$(BENCH_VENV)/bin/python $(PIP_LOCKED) requirements/bench.lock
	@$(BENCH_VENV)/bin/python $(PIP_PROJECT)
	@touch $@

$(NODE_TOOLS)/.ready: Makefile
	@command -v npm >/dev/null || { echo 'error: `npm` is not on the PATH' >&2; echo 'hint: install Node.js with npm; the suite brings its own Node 22' >&2; exit 1; }
	@mkdir -p $(NODE_TOOLS)
	@npm install --prefix $(NODE_TOOLS) --no-save --no-audit --no-fund --loglevel error node@22 $(CONFORMANCE)
	@touch $@

# One virtual environment, made only if it is not there or does not run.
define environment
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'error: `$(PYTHON)` is older than Python 3.11' >&2; echo 'hint: make PYTHON=python3.12 …' >&2; exit 1; }; \
	$(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
		echo "setting up $(1) from the locked requirements (once, about a minute)" >&2; \
		$(PYTHON) -m venv --clear $(1); }
endef
