# `make` lists what this file can do. Only a POSIX shell, GNU make 3.81 or later and Python 3.11-3.13 are needed; uv is used when present.

# Which Python, e.g. `make demo PYTHON=python3.12`. Left alone, the first of python3, python3.13, ... that really runs is taken.
PYTHON ?= python3
# `make UV= ...` does everything with plain venv and pip.
UV ?= uv
VENV ?= .venv
BIN := $(VENV)/bin

# A name on PATH proves nothing (version managers install shims that fail), so each candidate is run and asked who it is.
CANDIDATES := $(if $(filter file,$(origin PYTHON)),python3 python3.13 python3.12 python3.11,"$(PYTHON)")
find_python = for name in $(CANDIDATES); do \
	python=$$("$$name" -c 'import sys; (3, 11) <= sys.version_info[:2] <= (3, 13) and print(sys.executable)' 2>/dev/null) \
	&& test -n "$$python" && break; python=; done; \
	test -n "$$python" || { echo 'streamtrack needs Python 3.11, 3.12 or 3.13, and none of these is one:' $(CANDIDATES) >&2; \
	echo 'Install one, or name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12' >&2; exit 1; }
has_uv = test -n "$(UV)" && "$(UV)" --version >/dev/null 2>&1

# uv does not read pip's configuration: where only pip knows the package index, pip takes over.
define install
{ $(has_uv) && { "$(UV)" pip install --quiet --python $(BIN)/python $(1) \
	|| { echo 'uv could not install; trying pip' >&2; false; }; }; } \
|| $(BIN)/python -m pip install --quiet --disable-pip-version-check $(1)
endef

.DEFAULT_GOAL := help
.PHONY: help demo test compiled check bench bench-tracker lint type fmt build clean erase kernels coverage try-wheel lock
.NOTPARALLEL:

help:  ## List the targets
	@echo 'make TARGET, where TARGET is one of'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

# --- the environment: one folder, a stamp for each set of packages in it ---

$(BIN)/python:
	@$(find_python); echo "creating $(VENV) with $$python"; \
	{ $(has_uv) && "$(UV)" venv --quiet --clear --seed --python "$$python" $(VENV); } || "$$python" -m venv --clear $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo 'installing what streamtrack needs to run'
	@$(call install,--require-hashes -r requirements/run.txt)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo 'installing what its tests need'
	@$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

# What really converts to Core ML: large, and for tests/streamtrack_coreml alone. By pip, since uv does not read where pip
# was told to find builds of torch for the CPU; what is installed already stays as it is.
$(VENV)/.export: requirements/export.txt $(VENV)/.dev
	@echo 'installing what converts models to Core ML'
	@$(BIN)/python -m pip freeze --quiet --exclude-editable >$(VENV)/installed.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $< -c $(VENV)/installed.txt
	@touch $@

# --- for everybody ---

# Through the environment, so that any file name a shell can hold gets through: spaces, quotes.
export VIDEO STRIDE FPS MODEL PROFILE
demo: $(VENV)/.run  ## Run the main job into demo/: make demo [VIDEO=path] [STRIDE=n] [FPS=n] [MODEL=name] [PROFILE=name]
	@$(BIN)/streamtrack demo $${VIDEO:+"$$VIDEO"} --out demo $${STRIDE:+--stride "$$STRIDE"} $${FPS:+--fps "$$FPS"} \
		$${MODEL:+--model "$$MODEL"} $${PROFILE:+--profile "$$PROFILE"}

# One process for each core, but four at most, since each loads the whole suite: tests/conftest.py says how they share it.
WORKERS ?= auto
PYTHON_M := $(BIN)/python -m
test: compiled  ## Run the tests: make test [ARGS='-k name'] [WORKERS=0, which is all in one process]
	$(PYTHON_M) pytest --numprocesses $(WORKERS) --maxprocesses 4 $(ARGS)

# Before the processes that share the tests would do it once each and, traced, in twice the time; and no live feed is kept
# waiting for it.
WARM_UP := from streamtrack import build, params, quality; from streamtrack.sources import _shrinking; \
	quality.warm_up(); _shrinking.warm_up(); \
	[build.make_tracker(params.TrackerParams(mode=mode), 25.0).warm_up() for mode in ("time", "reference")]
compiled: $(VENV)/.dev
	@$(BIN)/python -c '$(WARM_UP)'

clean:  ## Remove everything that make made
	rm -rf .venv .venv-peers build dist demo .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find src backends tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# --- for those who change it ---

# The same `test`, with its coverage recorded; the benchmarks run in it as ordinary tests.
check: PYTHON_M := $(BIN)/python -m coverage run -m
check: lint type erase kernels test coverage build  ## Run everything that a change must pass

lint: $(VENV)/.dev  ## Check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.dev  ## Check types
	$(BIN)/mypy

fmt: $(VENV)/.dev  ## Format the code and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev  ## Run the benchmarks, timed
	@for bench in benchmarks/bench_*.py; do echo; echo "== $$bench"; $(BIN)/python "$$bench" || exit 1; done

# Other trackers bring their own packages, so they live in an environment of their own.
bench-tracker:  ## Compare the tracker with others from PyPI: make bench-tracker [ARGS='--mot det.txt']
	@$(MAKE) --no-print-directory VENV=.venv-peers .venv-peers/.peers
	@.venv-peers/bin/python benchmarks/bench_tracker.py $(ARGS)

$(VENV)/.peers: requirements/peers.txt pyproject.toml | $(BIN)/python
	@echo 'installing streamtrack and the trackers that it is compared with'
	@$(call install,--require-hashes -r requirements/peers.txt)
	@$(call install,--no-deps --no-build-isolation -e .)
	@touch $@

# What an interrupted run left would count as covered.
erase: $(VENV)/.dev
	@$(BIN)/python -m coverage erase

# Compiled code cannot be traced: the kernels' tests run once more as plain Python. Importing all the others takes longer.
kernels: $(VENV)/.dev
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest -k kernels \
		$$(find tests -name 'test_*.py' -exec grep -l kernels {} +)

coverage: $(VENV)/.dev
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=90

build: $(VENV)/.dev  ## Build wheel and sdist into dist/, and try the wheel in a fresh venv without uv
	rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist
	@$(MAKE) --no-print-directory UV= PYTHON=$(abspath $(BIN))/python VENV=build/venv try-wheel

try-wheel: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-index dist/*.whl
	$(BIN)/python -m pip check
	cd build && venv/bin/streamtrack --version && venv/bin/streamtrack plugins >plugins.txt && cat plugins.txt
	@! grep broken build/plugins.txt

LOCK := "$(UV)" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url
lock:  ## Pin what pyproject.toml asks for, keeping the pins that fit (needs uv)
	$(LOCK) pyproject.toml requirements/build.in --group dev -o requirements/dev.txt
	$(LOCK) pyproject.toml requirements/build.in -c requirements/dev.txt -o requirements/run.txt
	$(LOCK) pyproject.toml requirements/build.in --group peers -c requirements/dev.txt -o requirements/peers.txt
