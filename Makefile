# Everything runs in an environment that is made on first use; nothing else is touched.
# Python 3.11 uses .venv; another version, as in `make test PYTHON=python3.13`, one of its own (.venv-3.13).
PYTHON ?= python3.11

# A pyenv shim runs only the versions that pyenv has selected, so pyenv's versions are tried after it.
PROGRAM := $(shell for each in $(PYTHON) $(HOME)/.pyenv/versions/*/bin/$(PYTHON); do \
    $$each -c 'import sys; print(sys.executable)' 2> /dev/null && break; done)
ASK_VERSION := -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null
VERSION := $(if $(PROGRAM),$(shell $(PROGRAM) $(ASK_VERSION)))
VENV := .venv$(if $(filter-out 3.11,$(VERSION)),-$(VERSION))
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test check coverage lint docs bench zoo soak fuzz chaos images snippets sbom clean remake

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.13 after any of these uses that Python, in an environment of its own."

demo: $(VENV)/installed  ## Train on real digits, export, quantize, and compare: the main job, end to end.
	$(BIN)/attnexport demo

# One more than two cores: tests wait for child processes, browsers and deadlines.
WORKERS ?= 3

test: $(VENV)/installed  ## Run the whole suite; SHUFFLE=1 in random order.
	@$(BIN)/python -c 'import sys; print("Python", sys.version.split()[0], "in $(VENV)")'
	$(BIN)/$(if $(COVERAGE),coverage run,python) -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 10 \
	  $(if $(SHUFFLE),,-p no:randomly)
	$(if $(COVERAGE),$(BIN)/coverage combine -q && $(BIN)/coverage report)

check: lint  ## Lint, and run the fast tests of what a change usually breaks: within a minute.
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow" tests/test_house.py tests/test_module_run.py \
	  tests/core tests/store tests/parity tests/cli/test_command_line.py

coverage: COVERAGE := 1
coverage: test  ## Run the whole suite and print what it covers, child processes included.

lint: $(VENV)/installed  ## Check format, style, types and the direction of imports.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/installed  ## Build the documentation's site in site/.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(VENV)/installed  ## Measure speed, as ratios of two sides in one run.
	$(BIN)/python benchmarks/command_line.py
	$(BIN)/python benchmarks/tflite.py
	$(BIN)/python benchmarks/conversion.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/validate.py
	$(BIN)/python benchmarks/client.py
	$(BIN)/python benchmarks/server.py
	$(BIN)/python benchmarks/rest.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/hostile_clients.py

sbom: $(VENV)/installed  ## Write the bill of materials of a release, of what pip installs with it, in build/.
	rm -rf build/release && $(BIN)/python -m venv build/release
	build/release/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt .
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --no-validate --spec-version 1.6 \
	  -o build/attnexport.cdx.json build/release/bin/python

chaos: $(VENV)/installed  ## Kill every writing command 300 times within ten minutes; SECONDS=N for another time.
	$(BIN)/python benchmarks/chaos.py --seconds $(or $(SECONDS),600)

images: $(VENV)/installed  ## Build the images and run each as its user, with docker or buildah; takes minutes.
	$(BIN)/python -m tests.docker.images $(IMAGES)

LITERTJS := build/node_modules/@litertjs/core

snippets: $(VENV)/installed  ## Run or compile the lines of `inspect --snippet`, with LiteRT.js from npm and kotlinc.
	test -d $(LITERTJS) || npm install --silent --no-save --no-audit --no-fund --prefix build @litertjs/core@2.5.3
	ATTNEXPORT_LITERTJS=$(CURDIR)/$(LITERTJS) $(if $(shell command -v kotlinc),ATTNEXPORT_KOTLINC=kotlinc) \
	  $(BIN)/python -m pytest -q -rs tests/tflite/test_metadata.py

fuzz: $(VENV)/installed  ## Feed a million inputs to each parser of bytes from outside; INPUTS=N for fewer.
	$(BIN)/python -m tests.fuzzing --inputs $(or $(INPUTS),1000000) $(TARGETS)

zoo: $(VENV)/installed  ## Convert models of others beside other tools, and judge the verdicts; zoo.md has the table, zoo.jsonl what is done.
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group zoo
	$(BIN)/python benchmarks/zoo.py

soak: $(VENV)/installed  ## Twenty minutes of load: versions swapped, clients killed; every method of both edges.
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/soak_methods.py

clean:  ## Remove the environments and what tools left.
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* build site

# An environment that another version of Python made is made again.
ifneq ($(or $(shell $(BIN)/python $(ASK_VERSION)),none),$(VERSION))
$(VENV)/installed: remake
remake:
	@$(if $(VERSION),,echo "$(PYTHON) was not found; name an installed Python, as in PYTHON=python3.12" >&2; exit 1)
	@echo "making $(VENV) with Python $(VERSION)"
	@$(PROGRAM) -m venv --clear $(VENV)
endif

# The constraints pin every version that the suite was run with.
$(VENV)/installed: pyproject.toml constraints.txt
	$(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt --group dev -e '.[examples]'
	@touch $@
