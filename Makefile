# Everything runs in .venv, which is made on first use; nothing else is touched.
PYTHON ?= python3.11
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench soak clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-6s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/installed  ## Train on real digits, export, quantize, and compare: the main job, end to end.
	$(BIN)/attnexport demo

test: .venv/installed  ## Run the whole suite.
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

lint: .venv/installed  ## Check format, style, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed  ## Build the documentation's site in site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/installed  ## Measure speed, as ratios of two sides in one run.
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/tflite.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/validate.py
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/server.py

soak: .venv/installed  ## Ten minutes of load while versions are swapped and clients killed.
	$(BIN)/python benchmarks/soak.py

clean:  ## Remove the environment and what tools left.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache attnexport.egg-info build site

# The constraints pin every version that the suite was run with.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group dev -e '.[examples]'
	@touch $@
