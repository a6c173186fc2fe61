# One command from a fresh checkout: `make run` or `make test`. Needs make, a network, and Python 3.11 or newer.
#
#   PYTHON       interpreter that the virtual environment is made with:   make run PYTHON=python3.12
#   PIP_ARGS     passed to pip at the first set-up. A plain install brings the torch build that PyPI holds, which on Linux
#                can use a GPU and is large. Optional, for a small build without GPU support:
#                make run PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   PYTEST_ARGS  passed to pytest:   make test PYTEST_ARGS=tests/ctm
#
# Browser tests look for a Chromium or Chrome on PATH and are skipped where there is none; with CTM_REQUIRE_BROWSER=1 in
# the environment they fail instead.

#   ENGINE       what builds the image: docker, podman or `buildah`
#   IMAGE_ARGS   passed to it:   make image IMAGE_ARGS="--build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
ENGINE ?= docker
IMAGE_ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP_INSTALL := $(PY) -m pip install --disable-pip-version-check --constraint constraints.txt $(PIP_ARGS)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-slow check audit render-results results format image lock

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.runtime  ## set up, then serve the app on this machine
	$(PY) app.py

test: $(VENV)/.dev  ## set up, then run the tests, but for the slow ones
	$(PY) -m pytest -m "not slow" -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slow: $(VENV)/.dev  ## set up, then run the tests that go on for minutes
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

check: $(VENV)/.dev  ## formatting, lint, types, layers: what must be clean before a commit
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/biome check --error-on-warnings biome.json ui/static tests/js benchmarks
	$(PY) -m pytest -q tests/test_architecture.py tests/test_repository.py tests/test_dockerfile.py
	@if $(PY) -c "from urllib.request import urlopen; urlopen('https://pypi.org/pypi/pip/json', timeout=5)" 2>/dev/null; \
		then $(MAKE) --no-print-directory audit; else echo "Weaknesses of dependencies: not asked for, PyPI cannot be reached."; fi

audit: $(VENV)/.dev  ## ask the network for known weaknesses of what the app runs on
	$(PY) -m pip_audit --progress-spinner off --requirement constraints.txt --no-deps --disable-pip

image:  ## build the image of the Space
	$(ENGINE) build --tag ctm-space $(IMAGE_ARGS) .

# Torch and what it brings along are left out: they differ with where torch comes from, and torch pins them itself.
lock: $(VENV)/.dev  ## pin all that the direct dependencies bring along, in constraints.txt
	$(VENV)/bin/uv pip compile --quiet --upgrade --python-version 3.11 --no-header --no-annotate requirements.txt \
		| grep --invert-match --extended-regexp '^(torch|triton|setuptools|cuda-.*|nvidia-[^m].*)==' > constraints.txt

render-results: $(VENV)/.dev  ## write the generated parts of README.md, docs/ and the recipes
	$(PY) -m benchmarks.render_results

results: render-results

format: $(VENV)/.dev  ## rewrite the code in the one format, and fix what the linter can
	$(PY) -m ruff check --fix-only .
	$(PY) -m ruff format .
	$(VENV)/bin/biome check --write biome.json ui/static tests/js benchmarks

$(VENV)/.runtime: requirements.txt constraints.txt | $(PY)
	$(PIP_INSTALL) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt constraints.txt | $(PY)
	$(PIP_INSTALL) -r requirements-dev.txt
	@touch $(VENV)/.runtime $@

# `venv` leaves a broken folder behind when it fails, as on a Debian without python3-venv.
$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed: name one with make PYTHON=python3.12, or install it." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; } || true
	@$(PYTHON) -m venv $(VENV) >/dev/null || { rm -rf $(VENV); $(PYTHON) -m virtualenv -q $(VENV) 2>/dev/null; } || { \
		rm -rf $(VENV); echo "Python cannot make a virtual environment: apt install python3-venv, then try again." >&2; exit 1; }
