# Needs Python 3.11 or newer, and make. Every target sets up its environment first; nothing else is installed.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
ARGS ?=

.PHONY: help groove test test-all test-portable check benchmark notebooks constraints clean

help:
	@echo "make groove      discover a learning rule (ARGS='--preset paper --out runs/mine' and so on)"
	@echo "make test        the fast tests          make test-all    with the slow ones"
	@echo "make test-portable   the numerical tests under older instruction sets"
	@echo "make check       lint, format, types     make benchmark   speed against named baselines"
	@echo "make notebooks   run every notebook      make clean       remove caches and the environment, keep runs/"

groove: $(VENV)/.ok
	$(PY) -m experiments.groove $(ARGS)

test: $(VENV)/.ok
	$(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

test-all: $(VENV)/.ok
	XLA_FLAGS= $(PY) -m pytest -q -n 2 --dist loadfile -m "" $(ARGS)

# The numerical tests as other processors compute them; each instruction set has a compilation cache of its own.
NUMERICAL = tests/objectives tests/optimizers tests/meta tests/agents tests/curriculum tests/incontext tests/search \
	tests/contracts tests/test_nets.py tests/test_policies.py tests/test_returns.py
test-portable: $(VENV)/.ok
	for isa in SSE4_2 AVX2; do \
	  JAX_COMPILATION_CACHE_DIR=$(HOME)/.cache/lopt/xla-$$isa NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR" \
	  XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_max_isa=$$isa" \
	  $(PY) -m pytest -q -n 2 --dist loadfile $(NUMERICAL) $(ARGS) || exit 1; done

check: $(VENV)/.ok
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

benchmark: $(VENV)/.ok
	$(PY) -m experiments.benchmark $(ARGS)

notebooks: $(VENV)/.ok
	$(PY) -m pytest -q --nbmake --nbmake-timeout=600 notebooks $(ARGS)

# One resolution for every Python and platform; names versions only, no package index.
constraints: $(VENV)/.ok
	$(PY) -m uv pip compile pyproject.toml --extra dev --universal --upgrade --no-header --no-annotate -q -o constraints.txt

# uv installs in seconds; where it cannot be had or cannot reach the index, pip does the same in a minute.
$(VENV)/.ok: pyproject.toml constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'lopt needs Python 3.11 or newer; make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	{ $(PY) -m pip install -q uv && \
	  $(PY) -m uv pip install -q -p $(PY) -e ".[dev]" -c constraints.txt --compile-bytecode; } || \
	$(PY) -m pip install -q -e ".[dev]" -c constraints.txt
	touch $@

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .jax_cache dist build *.egg-info
	find lopt envs experiments tests -name __pycache__ -prune -exec rm -rf {} +
	test ! -e $(VENV)/.ok || rm -rf $(VENV)
