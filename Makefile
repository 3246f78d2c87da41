# Every target sets up what it needs in .venv by itself; Python >= 3.11 and make are enough.
PYTHON ?= python3
BIN := .venv/bin
PYTEST_ARGS ?= -n 2 --dist loadgroup

.PHONY: demo test check bench fuzz vectors format clean

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[host,audit,dev]"
	touch $@

demo: .venv/.ready
	$(BIN)/python -m bench.demo

test: .venv/.ready
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate --quiet registry signal_bridge daemon

bench: .venv/.ready
	$(BIN)/python -m bench

# Seconds for each parser. atheris is in no extra: no test needs it, and few Pythons have a wheel of it.
FUZZ_SECONDS ?= 300
fuzz: .venv/.ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary=:all: atheris==3.0.0 || { echo "make fuzz: no wheel of atheris 3.0.0 for $$($(BIN)/python -V); Python 3.11, 3.12 and 3.13 on Linux have one; without it: python -m bench.mutants" >&2; exit 1; }
	for parser in safetensors adapter-config gguf; do $(BIN)/python -m bench.fuzz $$parser -max_total_time=$(FUZZ_SECONDS) || exit 1; done

vectors: .venv/.ready
	mkdir -p .vectors
	npm pack cctv-age@0.2.0 --silent --pack-destination .vectors
	$(BIN)/python -m tests.sealing.unpack_vectors .vectors/cctv-age-0.2.0.tgz .vectors/age-testkit

format: .venv/.ready
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format --quiet .

clean:
	rm -rf .venv .demo .fuzz build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
