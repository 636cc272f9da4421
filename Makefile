# Every target that a person types has its help after `##`. CI calls the same targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Test processes: one per core, at most four (each simulated device is a process of its own).
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 4 ] && n=4; echo $$n)
PYTEST_ARGS ?=
# An image of MicroPython for `make test-pico`.
PICO_UF2 ?=
NO_PICO_UF2 := test-pico: nothing was run: it needs a MicroPython image for the RP2040, which no package brings. \
	Take RPI_PICO_W (.uf2) from micropython.org/download, then: make test-pico PICO_UF2=RPI_PICO_W.uf2
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

VENV_STAMP := $(VENV)/.stamp-venv
DEMO_STAMP := $(VENV)/.stamp-demo
TEST_STAMP := $(VENV)/.stamp-test
BENCH_STAMP := $(VENV)/.stamp-bench
# MicroPython's signatures, for each port in a folder of its own: installed like other packages they would stand in for
# CPython's standard library.
STUBS := $(VENV)/micropython-stubs
STUBS_STAMP := $(VENV)/.stamp-stubs
STUBS_RP2 := micropython-rp2-rpi-pico-w-stubs>=1.28,<1.30
STUBS_ESP32 := micropython-esp32-esp32-generic-s3-stubs>=1.28,<1.30

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-pico check fmt bench fuzz vectors vectors_check system-deps clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: $(DEMO_STAMP) ## make .venv with the gateway, the tools and the simulator
	@echo "ready: try $(BIN)/lapel --help, or make demo"

demo: $(DEMO_STAMP) ## play one incident on three simulated devices (ONCE=1 to end by itself, OUT=DIR to keep its files)
	$(BIN)/lapel demo $(if $(ONCE),--once) $(if $(OUT),--out $(OUT))

test: $(TEST_STAMP) ## run every ring of tests that this machine can (LAPEL_RINGS=all: leaving one out is a failure)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_ARGS)

ifneq ($(PICO_UF2),)
test-pico: $(TEST_STAMP)
endif
test-pico: ## run the firmware on an emulated Pico (PICO_UF2=FILE, a MicroPython image for the RP2040; optional)
	@$(if $(PICO_UF2),PICO_UF2='$(PICO_UF2)' $(BIN)/python -m tests.emulated $(PYTEST_ARGS),echo "$(NO_PICO_UF2)")

check: $(TEST_STAMP) $(STUBS_STAMP) ## lint, format check, types and import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for port in rp2 esp32; do \
		MYPYPATH=$(STUBS)/$$port:firmware/stubs:protocol:firmware $(BIN)/mypy --config-file firmware/mypy.ini \
			--custom-typeshed-dir $(STUBS)/$$port --cache-dir .mypy_cache/$$port firmware/lapel_device/boards || exit 1; \
	done
	$(BIN)/lint-imports

fmt: $(TEST_STAMP) ## rewrite the sources as `make check` wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## measure everything side by side (BENCH="ingest alarms" for some of it, JSON=FILE to keep the figures)
	$(BIN)/python -m bench $(BENCH) $(if $(JSON),--json $(JSON))

fuzz: $(TEST_STAMP) ## fuzz every decoder (RUNS=10000000 for the whole of it, TARGET=records/ for some, OUT=DIR to keep its files)
	$(BIN)/python -m tests.fuzz --runs $(or $(RUNS),200000) --jobs $(JOBS) $(if $(TARGET),--target $(TARGET)) $(if $(OUT),--out $(OUT))

vectors: $(TEST_STAMP) ## write protocol/vectors/*.json anew from the independent script
	$(BIN)/python protocol/vectors/generate.py

vectors_check: $(TEST_STAMP) ## fail if protocol/vectors/*.json is not what the independent script makes
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	$(BIN)/python protocol/vectors/generate.py --out "$$fresh" && \
	for made in "$$fresh"/*.json protocol/vectors/*.json; do \
		name=$$(basename "$$made"); \
		cmp -s "$$fresh/$$name" "protocol/vectors/$$name" || { echo "protocol/vectors/$$name differs: run make vectors"; exit 1; }; \
	done && echo "vectors are up to date"

system-deps: ## install the system programs that tests and real use need (apt)
	$(SUDO) apt-get update
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mosquitto mosquitto-clients ffmpeg prometheus chromium fonts-dejavu-core

clean: ## remove .venv and everything the tools cached
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A failed `python3 -m venv` leaves bin/python behind, so a stamp says whether it was finished.
$(VENV_STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "lapel needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Give another: make PYTHON=python3.12 setup"; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo; echo "Could not make $(VENV). On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@touch $@

$(DEMO_STAMP): pyproject.toml $(VENV_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[sim]'
	@touch $@

$(TEST_STAMP): pyproject.toml $(VENV_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(DEMO_STAMP)

$(STUBS_STAMP): Makefile $(VENV_STAMP)
	@rm -rf $(STUBS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(STUBS)/rp2 '$(STUBS_RP2)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target $(STUBS)/esp32 '$(STUBS_ESP32)'
	@touch $@

$(BENCH_STAMP): pyproject.toml $(VENV_STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(TEST_STAMP) $(DEMO_STAMP)
