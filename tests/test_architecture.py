"""The rules of the house that a machine can check: which part may import which, sizes, banned names, clean text."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = [  # a part of lopt imports itself and the levels above this line's, never its neighbours
    {"types"},
    {"protocols", "tree"},
    {"unroll", "returns", "policies", "nets"},
    {"optimizers", "objectives", "incontext"},
    {"meta", "search", "agents", "tasks", "curriculum"},
]
ALLOWED = {part: set().union(*LEVELS[:i]) for i, level in enumerate(LEVELS) for part in level}
ALLOWED["export"] = set().union(*LEVELS[:4]) | {"search"}
ALLOWED[""] = {*ALLOWED}  # lopt/__init__.py
HEAVY = {"matplotlib", "wandb", "gymnax", "evosax", "brax", "orbax", "rich", "tyro"}
HOSTS = {"arxiv.org", "github.com", "colab.research.google.com", "www.apache.org", "img.shields.io", "example.com"}
PATHS = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|scratch|workspace)/\w|[A-Z]:\\\\?Users")
NUMERIC_HOST = re.compile(r"(?<![\d.])(?!127\.0\.0\.1|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
FILES = sorted(path for top in ("lopt", "envs", "experiments") for path in (ROOT / top).rglob("*.py"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.Module) -> Iterator[str]:
    """Every module a file imports, wherever in the file; `from a import b` counts as `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield child
            yield from at_import_time(child)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_file(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    package = path.relative_to(ROOT).parts[0]
    assert text.count("\n") <= 400, "too long: split it by object"
    check_arrows(path, set(imports(tree)))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
            length = node.end_lineno - node.lineno + 1 - docstring
            assert length <= 60, f"{node.name} has {length} lines"
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name != "*" for alias in node.names), "import *"
    for banned in ("hasattr(", "jax.tree_map", "random.PRNGKey", "from __future__ import annotations"):
        assert banned not in text, banned
    if package in ("lopt", "envs"):
        top = [n for n in at_import_time(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
        found = {m.split(".")[0] for n in top for m in imports(ast.Module([n], []))}
        assert not found & HEAVY, f"imported on loading: {found & HEAVY}"


def check_arrows(path: Path, modules: set[str]) -> None:
    package, *rest = path.relative_to(ROOT).with_suffix("").parts
    ours = {m for m in modules if m.split(".")[0] in ("lopt", "envs", "experiments", "tests")}
    if package == "lopt":
        part = rest[0] if rest != ["__init__"] else ""
        assert part in ALLOWED, f"lopt.{part} is new: give it a place in LEVELS"
        for module in ours:
            assert module.startswith("lopt."), f"lopt imports {module}"
            assert part == "" or module.split(".")[1] in ALLOWED[part] | {part}, f"lopt.{part} imports {module}"
    elif package == "envs":
        wrong = {m for m in ours if not re.match(r"envs|lopt\.(types|protocols)\b", m)}
        assert not wrong, f"envs imports {wrong}"
    else:
        assert not any(m.startswith("tests") for m in ours), "experiments import tests"


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("lopt/meta/es.py", "lopt.agents.agent"),
        ("lopt/types.py", "lopt.tree"),
        ("lopt/optimizers/lion.py", "lopt.meta.learner"),
        ("lopt/tree.py", "envs.chain"),
        ("lopt/newcomer.py", "lopt.types"),
        ("envs/chain.py", "lopt.tree"),
        ("experiments/groove/train.py", "tests.experiments.toy"),
    ],
)
def test_the_arrows_have_teeth(path, module):
    with pytest.raises(AssertionError):
        check_arrows(ROOT / path, {module})


def text_files() -> list[Path]:
    """What git tracks or would track; every text file where there is no git."""
    git = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
    paths = [ROOT / line for line in listed.stdout.splitlines()] if listed.returncode == 0 else FILES
    binary = {".png", ".npz", ".npy", ".gif", ".pdf"}
    return [path for path in paths if path.is_file() and path.suffix not in binary]


def test_no_machine_paths_or_hosts():
    files = [path for path in text_files() if path != Path(__file__)]
    assert len(files) > 20
    wrong = []
    for path in files:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            hosts = set(re.findall(r"https?://([\w.-]+)", line)) - HOSTS
            if hosts or PATHS.search(line) or NUMERIC_HOST.search(line):
                wrong.append(f"{name(path)}:{number}: {line.strip()[:100]}")
    assert not wrong, "\n".join(wrong)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_lopt_is_as_light_as_optax():
    extra = loaded_by("import lopt") - loaded_by("import optax, flax, jaxtyping")
    outside = {m.split(".")[0] for m in extra} - set(sys.stdlib_module_names) - {"lopt"}
    assert not outside, f"import lopt also loads {sorted(outside)}"
    assert not any(m.startswith("flax.nnx") for m in extra)
