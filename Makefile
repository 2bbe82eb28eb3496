# Needs Python 3.11 or newer, and make. Every target sets up its environment first; nothing else is installed.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
ARGS ?=

.PHONY: help groove test test-all test-portable test-oldest test-SSE4_2 test-AVX test-AVX2 test-wheel check benchmark docs notebooks notebook-pages constraints clean

help:
	@echo "make groove      discover a learning rule (ARGS='--preset paper --out runs/mine' and so on)"
	@echo "make test        the fast tests          make test-all    with the slow ones"
	@echo "make test-portable   the numerical tests under older instruction sets"
	@echo "make test-wheel      README's examples and a short run from the built wheel, in an environment of its own"
	@echo "make check       lint, format, types     make benchmark   speed against named baselines"
	@echo "make docs        the documentation as a site, into site/"
	@echo "make notebooks   run every notebook      make notebook-pages   the same, with outputs into docs/notebooks"
	@echo "make clean       remove caches and the environment, keep runs/"

groove: $(VENV)/.ok
	$(PY) -m experiments.groove $(ARGS)

test: $(VENV)/.ok
	$(PY) -m pytest -q -n 2 --dist loadfile $(ARGS)

test-all: $(VENV)/.ok
	XLA_FLAGS= $(PY) -m pytest -q -n 2 --dist loadfile -m "" $(ARGS)

# The numerical tests as older processors compute them, where this one has more; each instruction set has a compilation
# cache of its own. ARGS='-m ""' adds the learning tests with score thresholds.
HAS = $(shell grep -m1 -ow $(1) /proc/cpuinfo 2>/dev/null)
ISAS ?= $(if $(call HAS,avx512f),SSE4_2 AVX2,$(if $(call HAS,avx2),SSE4_2 AVX,$(if $(call HAS,avx),SSE4_2)))
NUMERICAL ?= tests/objectives tests/optimizers tests/meta tests/agents tests/curriculum tests/incontext tests/search \
	tests/tasks tests/contracts tests/test_nets.py tests/test_policies.py tests/test_returns.py
NUMPY_SSE4_2 = X86_V3 X86_V4 AVX512_ICL AVX512_SPR
NUMPY_AVX = $(NUMPY_SSE4_2)
NUMPY_AVX2 = X86_V4 AVX512_ICL AVX512_SPR
test-portable: $(addprefix test-,$(ISAS))
	@test -n "$(ISAS)" || echo "no older instruction set is known for this processor: nothing was tested"

test-oldest: $(addprefix test-,$(firstword $(ISAS)))

test-SSE4_2 test-AVX test-AVX2: test-%: $(VENV)/.ok
	JAX_COMPILATION_CACHE_DIR=$(HOME)/.cache/lopt/xla-$* NPY_DISABLE_CPU_FEATURES="$(NUMPY_$*)" \
	XLA_FLAGS="--xla_backend_optimization_level=0 --xla_cpu_max_isa=$*" \
	$(PY) -m pytest -q -n 2 --dist loadfile $(NUMERICAL) $(ARGS)

# As a user has it: the built wheel in a fresh environment, run in an empty folder outside of this one; the examples of README
# and of the documentation.
test-wheel: $(VENV)/.ok
	rm -rf dist && $(PY) -m pip wheel -q --no-deps -w dist .
	folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && cp -r README.md docs/library.md docs/rules.md docs/tutorials tests/installed.py "$$folder" && \
	$(PY) -m venv "$$folder/venv" && \
	{ $(PY) -m uv pip install -q -p "$$folder/venv/bin/python" dist/*.whl -c constraints.txt || \
	  "$$folder/venv/bin/python" -m pip install -q dist/*.whl -c constraints.txt; } && \
	cd "$$folder" && venv/bin/python installed.py README.md library.md rules.md tutorials/*.md

check: $(VENV)/.ok
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Broken links, missing pictures, pages that are not listed and undocumented public names fail. The API pages are read from the
# source, not imported.
docs: .venv-docs/.ok
	NO_MKDOCS_2_WARNING=1 PYTHONPATH=. .venv-docs/bin/python -m mkdocs build -q --strict

.venv-docs/.ok: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs && .venv-docs/bin/python -m pip install -q -r docs/requirements.txt && touch $@

benchmark: $(VENV)/.ok
	$(PY) -m experiments.benchmark $(ARGS)

notebooks: $(VENV)/.ok
	$(PY) -m pytest -q --nbmake --nbmake-timeout=600 notebooks $(ARGS)

# The notebooks' pages in docs/, with outputs: executes all of them, about half an hour on one core.
notebook-pages: $(VENV)/.ok
	$(PY) docs/render_notebooks.py $(ARGS)

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
	rm -rf .pytest_cache .mypy_cache .ruff_cache .jax_cache .venv-docs site dist build *.egg-info
	find lopt envs experiments tests -name __pycache__ -prune -exec rm -rf {} +
	test ! -e $(VENV)/.ok || rm -rf $(VENV)
