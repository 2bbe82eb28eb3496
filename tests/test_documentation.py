"""README and the documentation: links lead to files, names of the library exist, every public name has a page."""

import ast
import importlib
import re
from pathlib import Path

import jupytext
import pytest

import lopt

ROOT = Path(__file__).parents[1]
TEXTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))
PACKAGES = ("agents", "curriculum", "evaluation", "incontext", "meta", "objectives", "optimizers", "rules", "search")


def identifiers(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", TEXTS, ids=identifiers)
def test_links_lead_to_files(path):
    text = path.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", text) + re.findall(r"^\[\d\]: (\S+)$", text, re.MULTILINE)
    missing = [target for target in targets if not (path.parent / target).exists()]
    assert not missing


@pytest.mark.parametrize("path", TEXTS, ids=identifiers)
def test_names_of_the_library_exist(path):
    names = set(re.findall(r"`lopt((?:\.[A-Za-z_]\w*)+)[`(]", path.read_text(encoding="utf-8")))
    wrong = [name for name in sorted(names) if not exists(name[1:].split("."))]
    assert not wrong


def exists(parts: list[str]) -> bool:
    """Whether `lopt.<parts>` is an attribute or a module."""
    found = lopt
    for number, part in enumerate(parts, 1):
        try:
            found = getattr(found, part)
        except AttributeError:
            try:
                found = importlib.import_module(".".join(["lopt", *parts[:number]]))
            except ImportError:
                return False
    return True


def test_every_package_and_every_name_at_the_top_has_a_page():
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "reference").glob("*.md")}
    for package in (*PACKAGES, "tasks", "training"):
        assert f"::: lopt.{package}\n" in pages[package]
    functions = {name for name in lopt.__all__ if name not in pages and not (ROOT / "lopt" / f"{name}.py").exists()}
    missing = {name for name in functions if f"`{name}`" not in pages["lopt"]}
    assert not missing


def test_the_front_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_page_of_a_notebook_has_its_code(path):
    page = (ROOT / "docs" / "notebooks" / f"{path.stem}.md").read_text(encoding="utf-8")
    code = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    stale = [source for source in code if f"```python\n{source}\n```" not in page]
    assert not stale, "not up to date: make notebook-pages"


def test_pictures_are_small():
    sizes = {identifiers(path): path.stat().st_size for path in (ROOT / "docs").rglob("*.png")}
    assert {name: size for name, size in sizes.items() if size > 100_000} == {}


@pytest.mark.parametrize("path", TEXTS, ids=identifiers)
def test_python_blocks_parse(path):
    for block in re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        ast.parse(re.sub(r"^(\s*)!.*$", r"\1pass", block, flags=re.MULTILINE))  # a shell command of a notebook
        assert max(map(len, block.splitlines())) <= 120
