# What people type. `make` alone lists it. Options for the command behind a target: make run ARGS="--mtu 9000"

VENV := .venv
BIN := $(VENV)/bin
NETEMU := $(BIN)/netemu
ARGS ?=
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
SETUP := scripts/setup.sh

# What stands in .venv, newer than pyproject.toml: the package alone (to run it), or with the tools for development.
RUN_STAMP := $(VENV)/.stamp-run
DEV_STAMP := $(VENV)/.stamp-dev

.DEFAULT_GOAL := help
.PHONY: help setup run demo story test lint check bench soak fidelity format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

setup: $(RUN_STAMP) ## make .venv with the command netemu in it

run: $(RUN_STAMP) ## run the host on a TUN device of this machine until ^C (root, or through sudo)
	@$(SETUP) banner
	@$(SUDO) $(NETEMU) up $(ARGS)

demo: $(RUN_STAMP) ## show it in a private namespace: curl, nc, ping, the socket table, a capture; no trace is left
	@$(SETUP) packages curl nc ping ip unshare
	@scripts/demo.sh

story: $(RUN_STAMP) ## three apps on one port, as real processes, told step by step and checked (root, or through sudo)
	@$(SETUP) packages nc ip unshare
	@$(SUDO) $(NETEMU) story $(ARGS)

test: $(DEV_STAMP) ## all tests, on two cores (root, for those with real clients)
	@$(SETUP) packages curl wget nc.openbsd ncat ping tshark ip unshare setpriv nginx traceroute mtr
	@$(SUDO) $(if $(NETEMU_FULL),env NETEMU_FULL=$(NETEMU_FULL)) $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(DEV_STAMP) ## ruff and mypy --strict
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

check: lint test ## what must pass before a change lands

bench: $(DEV_STAMP) ## measure beside the kernel's own stack (root); ARGS="--rounds 5 --json out.json"
	@$(SETUP) packages ip iperf3 taskset
	@$(SUDO) $(BIN)/python scripts/bench.py $(ARGS)

soak: $(DEV_STAMP) ## the long run of the mutation fuzzer, in virtual time; ARGS="--packets 1000000"
	@$(BIN)/python tests/property/soak.py $(ARGS)

fidelity: $(DEV_STAMP) ## measure what links do against what is asked of them (virtual time, some minutes); the table anew
	@$(BIN)/python tests/fidelity/fidelity.py $(ARGS)

format: $(DEV_STAMP) ## put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove all that was made here (through sudo where tests left files of root's)
	@made="$(VENV) *.egg-info build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis"; \
	made="$$made $$(find . -name __pycache__ -type d -prune)"; rm -rf $$made 2>/dev/null || $(SUDO) rm -rf $$made

$(RUN_STAMP): pyproject.toml $(SETUP)
	@$(SETUP) venv $(VENV) .
	@touch $@

$(DEV_STAMP): pyproject.toml $(SETUP)
	@$(SETUP) venv $(VENV) '.[dev]'
	@touch $(RUN_STAMP) $@
