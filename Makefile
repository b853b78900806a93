# Every target sets itself up first: .venv is made from requirements.lock when it is missing or outdated.
# Settings come from the environment, from .env or from the command line: make run PORT=8123 DATA_DIR=./other

PYTHON ?= python3
TEST_WORKERS ?= 2
EXAMPLES ?= 10000
VENV := .venv/bin
SETUP := scripts/setup_env.py

.DEFAULT_GOAL := help
.PHONY: help setup run test fuzz bench lint fmt schema lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

setup: ## Make .venv from the lock file, if it is not up to date
	@command -v $(PYTHON) >/dev/null || { echo "Setup failed: $(PYTHON) was not found: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -S -E $(SETUP)

run: setup ## Start the server with a demo of two clinics (PORT=8000 DATA_DIR=.data)
	@$(VENV)/python -m scripts.dev

test: setup ## Run all tests (ARGS="-k patients" for some of them)
	@$(VENV)/python -m pytest -n $(TEST_WORKERS) --dist loadgroup $(ARGS)

fuzz: setup ## Try generated operations and values for long (EXAMPLES=10000, ARGS are those of pytest)
	@EXAMPLES=$(EXAMPLES) $(VENV)/python -m pytest tests/fuzz -n $(TEST_WORKERS) $(ARGS)

bench: setup ## Measure speed beside others (ONLY=q1 SECONDS=2 ROUNDS=3 for a short look, ARGS=--small for a laptop)
	@$(VENV)/python -m benchmarks $(if $(ONLY),--only "$(ONLY)") $(if $(SECONDS),--seconds "$(SECONDS)") \
		$(if $(ROUNDS),--rounds "$(ROUNDS)") $(ARGS)

lint: setup ## Check style, types, import directions and the committed schema
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/python -m mypy
	$(VENV)/lint-imports
	$(VENV)/python -m scripts.export_schema --check

fmt: setup ## Format the code and mend what can be mended
	$(VENV)/ruff check --fix .
	$(VENV)/ruff format .

schema: setup ## Write schema.graphql and .env.example anew
	$(VENV)/python -m scripts.export_schema
	$(VENV)/python -m scripts.export_env_example

lock: setup ## Resolve pyproject.toml anew into requirements.lock (ARGS=--upgrade for newer versions)
	$(VENV)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --only-binary :all: \
		--generate-hashes --no-header --no-annotate --no-emit-index-url --output-file requirements.lock --quiet $(ARGS)

clean: ## Remove .venv and the tools' caches; the data folder stays
	rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
