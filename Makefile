# Two commands on a fresh machine: `make run` opens the application, `make test` runs all tests.
# Both create .venv on first use; repeat runs add well under two seconds.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := run
.PHONY: run demo test chaos lint format setup setup-dev clean help

help:
	@echo "make run     set up and open the application (without a display: run the demo)"
	@echo "make demo    train, trade and write a report, headless"
	@echo "make test    set up and run all tests"
	@echo "make chaos   10,000 random schedules of orders and faults (CHAOS_ARGS='-n 500 --seed 7')"
	@echo "make lint    ruff, mypy and import contracts"
	@echo "make format  format the sources"
	@echo "make clean   remove caches and outputs (keeps .venv)"

setup:
	@$(PYTHON) tools/setup_env.py

setup-dev:
	@$(PYTHON) tools/setup_env.py --dev

run: setup
	@if [ "$$(uname -s)" = Linux ] && [ -z "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		echo "No display was found (DISPLAY and WAYLAND_DISPLAY are empty): running the headless demo instead."; \
		exec $(VENV_PYTHON) main.py demo; \
	else \
		exec $(VENV_PYTHON) main.py; \
	fi

demo: setup
	@$(VENV_PYTHON) main.py demo

test: setup-dev
	@QT_QPA_PLATFORM=offscreen $(VENV_PYTHON) -m pytest -n 2 $(PYTEST_ARGS)

chaos: setup-dev
	@$(VENV_PYTHON) -m tests.chaos.run $(CHAOS_ARGS)

lint: setup-dev
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy
	@.venv/bin/lint-imports

format: setup-dev
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

clean:
	@rm -rf .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov dist demo-out
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
