# The two commands of this project are `make demo` and `make test`; both need Python 3.11+, gcc, make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every published advisory on packages of PyPI, GitHub's included.
OSV_URL := https://api.osv.dev/v1/query
AUDITED := main.py cmd core internal repositories scripts services worker

.DEFAULT_GOAL := help
.PHONY: help setup demo test chaos lint audit format lock clean

help: ## Show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed .tools/whisper-cli ## Install packages and build whisper.cpp (once)

$(VENV)/.installed: requirements.txt
	@echo "installing packages (a few minutes the first time)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.tools/whisper-cli: scripts/build_whisper.py | $(VENV)/.installed
	@$(BIN)/python scripts/build_whisper.py --out $@

demo: setup ## Start everything, transcribe samples/meeting.wav, print the transcript, stop
	@$(BIN)/python main.py demo

test: setup ## Run the whole test suite against a real stack
	@$(BIN)/python -m pytest

chaos: setup ## Kill, stop and fill whatever can be while it works (ten minutes)
	@CHAOS_LONG=1 $(BIN)/python -m pytest tests/chaos

lint: setup ## Check style, types, the direction of imports, and for insecure calls
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/bandit --quiet --configfile pyproject.toml --recursive $(AUDITED)

audit: $(VENV)/.installed ## Look for known vulnerabilities in the packages (asks osv.dev)
	@$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement requirements.txt \
		--vulnerability-service osv --osv-url $(OSV_URL)

format: setup ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Pin the newest versions that pyproject.toml allows in requirements.txt
	@$(PYTHON) scripts/lock.py

clean: ## Remove what set-up and runs left (not the data in .data)
	@rm -rf $(VENV) .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
