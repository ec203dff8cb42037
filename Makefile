# SutazAI. A fresh machine needs python3 (3.11 or newer) and make; everything else goes into .venv.
# ARGS passes arguments on: make test ARGS="-k login", make run ARGS="--port 8080".

.DEFAULT_GOAL := help
SHELL := /bin/sh
PYTEST_WORKERS ?= 2
BIN := .venv/bin

# What is started here starts Python by the hundred: let it compile each module once, not each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- use

.PHONY: demo
demo: .venv/.run ## Review this project and a seeded example with the built-in agents, then stop
	@$(BIN)/sutazai demo $(ARGS)

.PHONY: run
run: .venv/.run ## Start the server and leave it up
	@$(BIN)/sutazai serve $(ARGS)

# --- develop

.PHONY: install
install: .venv/.dev ## Set up .venv with everything that development needs
	@echo ".venv is ready: make lists what it can do"

.PHONY: test
test: .venv/.dev ## Run the tests (ARGS="-k name" for some of them)
	@$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadgroup $(ARGS)

.PHONY: check
check: lint types walls rules ## Lint, types, import rules, house rules

.PHONY: bench
bench: .venv/.dev ## Measure ours beside its baselines on this machine
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: format
format: .venv/.dev ## Rewrite the code as the linter wants it
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

.PHONY: lock
lock: .venv/.dev ## Resolve the dependencies again (ARGS=--upgrade for newer ones)
	@requirements/lock $(ARGS)

.PHONY: clean
clean: ## Remove .venv and every cache; data under .sutazai stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache \
		.schemathesis build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the parts of check

.PHONY: lint
lint: .venv/.dev
	@echo "== lint"
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

.PHONY: types
types: .venv/.dev
	@echo "== types"
	@$(BIN)/mypy

.PHONY: walls
walls: .venv/.dev
	@echo "== import rules"
	@$(BIN)/lint-imports --no-logo

.PHONY: rules
rules: .venv/.dev
	@echo "== house rules"
	@$(BIN)/python -m pytest -q tests/house_rules

# --- .venv: one stamp for each set of requirements; void when the tree was moved

ifneq ($(shell cat .venv/.made-in 2>/dev/null),$(CURDIR))
.PHONY: .venv/.run .venv/.dev
endif

.venv/.run: requirements/run.txt requirements/bootstrap.txt requirements/install \
		pyproject.toml sdk/python/pyproject.toml
	@requirements/install run

.venv/.dev: requirements/dev.txt requirements/model.txt requirements/bootstrap.txt requirements/install \
		pyproject.toml sdk/python/pyproject.toml
	@requirements/install dev
