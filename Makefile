# Every habit of this project has one name here; .ci/run calls the same names. `make help` lists them.
# Needed on the machine: make and Python 3.11 or newer. Each target sets up .venv by itself where it is absent or older
# than pyproject.toml or constraints.txt.

SHELL := /bin/bash
BIN := .venv/bin
READY := .venv/.ready
# Many containers set it; each of hundreds of processes would then compile Airflow anew.
unexport PYTHONDONTWRITEBYTECODE
# more arguments for what a target runs, as in `make test ARGS="tests/storage -x"`
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo ui test test-system test-fleet test-lowest check format readme bench bench-limit scale constraints clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## set up .venv with everything that the other targets need

# uv, because pip's own resolver needs over ten minutes for Airflow and its providers; uv needs seconds.
$(READY): pyproject.toml constraints.txt
	@set -euo pipefail; \
	seen=""; python=""; \
	for candidate in $(PYTHON) python3.11 python3 python3.12 python3.13 python3.14; do \
	    version=$$($$candidate -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	    seen="$$seen $$candidate is $$version;"; \
	    if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo "expected Python 3.11 or newer; came:$${seen:- no Python 3 at all;} where: the PATH; next: install Python 3.11, or name one with 'make PYTHON=/path/to/python3.11 ...'" >&2; \
	    exit 2; \
	fi; \
	echo "setting up .venv with $$($$python --version)"; \
	$$python -m venv .venv; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv; \
	VIRTUAL_ENV="$(CURDIR)/.venv" $(BIN)/uv pip install --quiet -c constraints.txt -b constraints.txt -e '.[parquet,obstore,demo,spark,spark-submit]' --group dev
	@touch $(READY)

demo: $(READY) ## make demo data under ./demo, judge every window of its monitors, show one table
	$(BIN)/python tools/demo_on_airflow.py ./demo

ui: $(READY) ## Airflow's pages with the demo's history at http://127.0.0.1:8080, until Ctrl-C; ARGS="--port 8081" elsewhere
	$(BIN)/python tools/ui.py ./demo $(ARGS)

test: $(READY) ## run the tests on two processes
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-system: $(READY) ## run what needs a whole Airflow: scheduler, executor, triggerer and API server
	$(BIN)/python -m pytest -m system tests/system $(ARGS)

# FLEET_TASKS=1 makes one task of each monitor instead of two
test-fleet: $(READY) ## judge a folder of 500 monitors by a real scheduler, which takes too long for every change
	FLEET_MONITORS=500 $(BIN)/python -m pytest -m system -s tests/system/test_fleet.py $(ARGS)

# The lowest versions that pyproject.toml admits, with the companions of their time: an environment of its own.
LOWEST := .venv-lowest
LOWEST_COMPANIONS := 2025-12-15

$(LOWEST)/.ready: constraints-lowest.txt pyproject.toml $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(LOWEST)
	VIRTUAL_ENV="$(CURDIR)/$(LOWEST)" $(BIN)/uv pip sync --quiet constraints-lowest.txt
	VIRTUAL_ENV="$(CURDIR)/$(LOWEST)" $(BIN)/uv pip install --quiet --no-deps -b constraints.txt -e .
	@touch $@

# What does not hang on a dependency's version is tested with the pinned ones only: laws, pages, the demo's figures, the
# project's own declarations, processes that are killed or held to a limit, how work is cut, cached and chosen, SageMaker's
# requests as data, which windows are run again. So is the Spark engine: PySpark before 4.2 leaves sockets open, which pytest
# takes for errors. The suite of every engine runs on the local disk: that engines read S3 is seen in `objects_on_s3`, and
# clients in `storage`.
LOWEST_LEFT_OUT := laws publish demo faults docs sagemaker refresh test_project.py airflow/test_demo_on_airflow.py \
    $(addprefix engines/test_,bounds.py choosing.py garbage.py independent.py memory.py prepared.py spans.py)
LOWEST_NOT := reference-s3 or local-s3 or disk-s3

test-lowest: $(LOWEST)/.ready ## run the tests with the lowest versions that are claimed, Airflow's among them
	$(LOWEST)/bin/python -m pytest -n 2 --dist worksteal -m "not system and not spark" -k "not ($(LOWEST_NOT))" \
	    $(addprefix --ignore tests/,$(LOWEST_LEFT_OUT)) $(ARGS)

check: $(READY) ## format, lint, types, the contracts between rooms, and README's samples against the demo
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python tools/readme_samples.py --check

format: $(READY) ## write the format, and mend what ruff can mend by itself
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

readme: $(READY) ## write what README shows of the demo anew
	$(BIN)/python tools/readme_samples.py

bench: $(READY) ## measure speed and memory, write README's figures and chart; ARGS=--large for 5,000,000 records too
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-limit: $(READY) ## judge 20,000,000 records within 4 GiB, of 16 GB of data on a disk; write benchmarks/limit.json
	$(BIN)/python benchmarks/limit.py $(ARGS)

scale: $(READY) ## compute the tables of docs/scale.md from what was measured
	$(BIN)/python benchmarks/scale.py

# Keeps the versions that are there where they still fit; ARGS=--upgrade takes the newest of everything.
constraints: ## resolve the dependencies again and write constraints.txt and constraints-lowest.txt
	@test -x $(BIN)/uv || $(MAKE) venv
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --python-version 3.11 \
	    --no-header --no-annotate --no-emit-index-url --quiet $(ARGS) -o constraints.txt
	rm -f constraints-lowest.txt # else what stands there would be preferred to what is lowest
	$(BIN)/uv pip compile pyproject.toml --all-extras --group test --python-version 3.11 \
	    --resolution lowest-direct --exclude-newer $(LOWEST_COMPANIONS) \
	    --no-header --no-annotate --no-emit-index-url --quiet -o constraints-lowest.txt

clean: ## remove the environment, the demo and everything that tools left
	rm -rf .venv .venv-lowest demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
