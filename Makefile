# Two commands on a fresh machine: `make run` opens the application, `make test` runs all tests.
# Both create .venv on first use; repeat runs add well under two seconds.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python

.DEFAULT_GOAL := run
.PHONY: run demo test coverage chaos bench-peers lint format setup setup-dev clean help

help:
	@echo "make run     set up and open the application (without a display: run the demo)"
	@echo "make demo    train, trade and write a report, headless"
	@echo "make test    set up and run all tests"
	@echo "make coverage  fail where a branch of what decides about money is reached by no test"
	@echo "make chaos   10,000 random schedules of orders and faults (CHAOS_ARGS='-n 500 --seed 7')"
	@echo "make bench-peers  set up .venv-peers, the other programs that \`main.py bench rl\` measures beside this one"
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
	@QT_QPA_PLATFORM=offscreen $(VENV_PYTHON) -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

# A short run of its own: the tests of the money modules and no others.
MONEY_TESTS := tests/unit/domain tests/unit/signals tests/unit/strategies tests/unit/data/test_data_origin.py \
	$(addprefix tests/unit/accounting/test_, reference.py rules.py) $(addprefix tests/unit/execution/test_, \
	order_manager.py order_state.py plan_decisions.py position_tracker.py position_desk.py fifo_lots.py reconciliation.py \
	reconnect.py inferred_fills.py unknown_orders.py kill_switch.py ownership.py halt_races.py executor.py \
	replace_order.py plan_runner.py foreign_kill.py known_scars_orders.py copy_watch.py \
	strategy_runner.py agent_strategies.py)

coverage: setup-dev
	@mkdir -p .cache
	@QT_QPA_PLATFORM=offscreen $(VENV_PYTHON) -m coverage run --rcfile=.ci/coverage.ini -m pytest --hypothesis-seed=0 $(MONEY_TESTS)
	@$(VENV_PYTHON) -m coverage report --rcfile=.ci/coverage.ini

chaos: setup-dev
	@$(VENV_PYTHON) -m tests.chaos.run $(CHAOS_ARGS)

bench-peers:
	@$(PYTHON) tools/setup_env.py --peers

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
