# Every target sets up what it needs from Python 3.11 or newer. `PYTHON=python3.12 make test` picks one, `ARGS=` passes arguments on.

VENV := .venv
BIN := $(VENV)/bin
ROOMS := limits scheduler worker monitor examples
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
UV := $(shell command -v uv 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types contracts bench check clean FORCE

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/runtime ## Run the demo (ARGS=--help lists its options)
	@$(BIN)/turgor demo $(ARGS)

test: $(VENV)/dev ## Run the tests; suites that need a server of their own are skipped
	@$(BIN)/pytest -n auto $(ARGS)

lint: $(VENV)/dev ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/dev ## Mend style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(VENV)/dev ## Check types
	@$(BIN)/pyright $(ARGS)

contracts: $(VENV)/dev ## Check which room imports which
	@$(BIN)/lint-imports --no-logo $(ARGS)

bench: $(VENV)/dev ## Run the benchmarks (ARGS=--help lists them)
	@$(BIN)/python benchmarks $(ARGS)

check: lint types contracts test ## Check everything

clean: ## Remove everything that make has made
	@rm -rf $(VENV) build dist *.egg-info .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

ifneq ($(UV),)
create_venv = uv venv --quiet --seed --python '$(or $(PYTHON),>=3.11)' $(VENV)
pip_install = uv pip install --quiet --python $(BIN)/python
else
create_venv = \
	for python in $(CANDIDATES); do \
		$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if $$python -c 'import ensurepip, venv' 2>/dev/null; then exec $$python -m venv $(VENV); fi; \
		incomplete=$$python; \
	done; \
	if [ -n "$$incomplete" ]; then \
		echo "Turgor needs the venv module of $$incomplete (Debian, Ubuntu: apt install $$(basename $$incomplete)-venv)" >&2; \
	else \
		echo "Turgor needs Python 3.11 or newer; tried: $(CANDIDATES)" >&2; \
	fi; \
	exit 1
pip_install = $(BIN)/python -m pip install -qq --disable-pip-version-check
endif
editable = --config-settings editable_mode=strict --editable

# An environment that was copied or moved with its folder still points at the old one.
ifneq ($(shell cat $(VENV)/created 2>/dev/null),$(CURDIR))
$(VENV)/created: FORCE
endif
$(VENV)/created:
	@rm -rf $(VENV)
	@$(create_venv)
	@echo '$(CURDIR)' >$@

# A strict editable install links each file that it finds, so a new file needs a new install.
$(VENV)/sources: $(VENV)/created FORCE
	@find $(ROOMS) -type f ! -name '*.pyc' | LC_ALL=C sort >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(VENV)/runtime: pyproject.toml $(VENV)/sources
	@echo "Installing Turgor in $(VENV)"
	@$(pip_install) $(editable) .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/sources
	@echo "Installing Turgor and its development tools in $(VENV)"
	@$(pip_install) $(editable) '.[dev]'
	@touch $(VENV)/runtime $@
