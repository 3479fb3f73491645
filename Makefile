# The commands of this repository. `make` alone lists them; every recipe is a line that a Python user can copy.
#
# pip reads your own configuration, and nothing here overrides it: whether PyTorch comes as its CPU or its CUDA build is
# chosen there, for instance with PIP_EXTRA_INDEX_URL (see "Set-up" in README.md).

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt
FRAMEWORKS := .venv-frameworks/bin/pip --disable-pip-version-check install --quiet
INTERPRETED := TRITON_INTERPRET=1 KERAS_BACKEND=torch OMP_NUM_THREADS=1

# Two processes: each holds PyTorch, so more of them would ask for memory. Plain pytest runs in one.
TWO := -n 2 --dist worksteal

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo check test bench bench-gpu diagnose-table frameworks golden clean engines

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: .venv/.torch  ## the worked examples as workbooks, and the comparison with PyTorch, in out/
	$(BIN)/labelsmooth demo -o out

check: .venv/.dev  ## format, lint, types and the quick tests; under two minutes
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q $(TWO) -m "not slow and not frameworks"

test: engines .venv/.dev  ## every test, with nothing skipped
	LABELSMOOTH_REQUIRE=1 $(BIN)/pytest -ra $(TWO)

bench: .venv/.dev  ## every benchmark in benchmarks/ but the GPU's, one after the other
	@ls benchmarks/bench_*.py >/dev/null 2>&1 || { echo "nothing to run: there is no benchmarks/bench_*.py"; exit 1; }
	@for file in $(filter-out benchmarks/bench_gpu.py,$(wildcard benchmarks/bench_*.py)); do echo "== $$file"; $(BIN)/python "$$file" || exit 1; done

bench-gpu: .venv/.dev  ## on a machine with an NVIDIA GPU: the tests that need one, and the GPU's benchmark; RECORD=1 writes
	$(BIN)/python benchmarks/bench_gpu.py --tiny
	TRITON_INTERPRET=0 $(BIN)/pytest -q -m gpu tests
	$(BIN)/python benchmarks/bench_gpu.py $(if $(RECORD),--record)

diagnose-table: .venv/.dev  ## how often a diagnosis is right, measured anew and written into docs/diagnose.md
	OMP_NUM_THREADS=1 $(BIN)/python scripts/diagnose_table.py --write

# Keras takes its backend, and Triton that it interprets, from the environment when they are loaded.
frameworks: .venv-frameworks/.ready  ## run the other frameworks for real against the numbers on record; gigabytes
	$(INTERPRETED) .venv-frameworks/bin/pytest -m frameworks tests/test_parity_frameworks*.py tests/test_losses_trainer_loops.py \
	  tests/test_docs.py

golden: .venv-frameworks/.ready  ## how far the frameworks are from the record; make golden RECORD=1 writes what has moved
	$(INTERPRETED) .venv-frameworks/bin/python scripts/record_frameworks.py $(if $(RECORD),--record)
	$(INTERPRETED) .venv-frameworks/bin/python scripts/record_loops.py $(if $(RECORD),--record)
	.venv-frameworks/bin/python scripts/record_torch.py $(if $(RECORD),,--check)

clean:  ## remove what make has made, .venv included
	rm -rf .venv .venv-frameworks out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

engines:
	@sh scripts/engines.sh

# The environment, brought up to date when what it is made from changes ------------------------------------------------

.venv/bin/pip .venv-frameworks/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "labelsmooth needs Python 3.11 or newer, got: $$($(PYTHON) --version 2>&1)." \
	       "Name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(@:/bin/pip=) || { echo "to get Python's venv module run: sudo apt-get install -y python3-venv"; exit 1; }

.venv/.torch: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing labelsmooth and PyTorch into .venv; the first time this takes minutes"
	$(PIP) -e '.[torch]'
	@touch $@

.venv/.dev: pyproject.toml constraints.txt | .venv/bin/pip
	@echo "installing labelsmooth, PyTorch and the test tools into .venv; the first time this takes minutes"
	$(PIP) -e '.[torch,dev]'
	@touch .venv/.torch $@

# The second install takes no dependencies: fastai and timm ask for torchvision, which their losses do not need, and
# everything that they do need stands in the list.
.venv-frameworks/.ready: pyproject.toml constraints.txt constraints-frameworks.txt | .venv-frameworks/bin/pip
	@echo "installing the other frameworks into .venv-frameworks; this takes minutes and about 3 GB"
	$(FRAMEWORKS) -c constraints.txt -e '.[torch]' cloudpickle matplotlib ml_dtypes psutil pytest pytest-randomly \
	  safetensors scikit-learn sybil
	$(FRAMEWORKS) --no-deps -r constraints-frameworks.txt
	@touch $@
