"""The notebooks: without outputs, equal to their sources, and executable from start to end."""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "notebooks").glob("*.py"))


def test_every_source_has_a_notebook():
    assert SOURCES
    assert [path.with_suffix(".ipynb") for path in SOURCES] == sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_notebook_is_its_source_without_outputs(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, "strip it: jupyter nbconvert --clear-output"
    source = jupytext.read(path)
    same = [(cell.cell_type, cell.source) for cell in source.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]
    assert same, f"not up to date: jupytext --to ipynb --update {path.relative_to(ROOT)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_first_code_cell_installs_in_colab(path):
    first = next(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code")
    assert "google.colab" in first and "\n    !pip install" in first


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_runs(path):
    # a few steps of each part, with compilation, which dominates the time, made fast
    fast = {"LOPT_FAST": "1", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    variables = fast | {"MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    process = subprocess.run(
        [sys.executable, str(path)], cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, timeout=900
    )
    assert process.returncode == 0, process.stderr[-4000:]
