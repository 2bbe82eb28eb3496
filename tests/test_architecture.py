"""Rules that a program can check: imports between parts, sizes of files, banned names, and the vocabulary."""

import ast
import fnmatch
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LEVELS = [  # a part of lopt imports itself and the levels above this line's, never its neighbours
    {"types"},
    {"protocols", "tree"},
    {"unroll", "returns", "policies", "nets"},
    {"optimizers", "objectives", "incontext"},
    {"meta", "search", "agents", "tasks", "curriculum"},
    {"evaluation"},
]
ALLOWED = {part: set().union(*LEVELS[:i]) for i, level in enumerate(LEVELS) for part in level}
ALLOWED["training"] = {"types", "tree"}  # it knows a learner's `init` and `step` alone
ALLOWED["evaluation"] |= {"training"}  # reports read a run's folder
ALLOWED["recipes"] = set().union(*LEVELS)  # functions that put parts of every level together
ALLOWED["rules"] = set().union(*LEVELS[:5])  # a loaded RL rule trains agents
ALLOWED[""] = {*ALLOWED}  # lopt/__init__.py
HEAVY = {"matplotlib", "wandb", "gymnax", "evosax", "brax", "orbax", "rich", "tyro"}
HOSTS = {"arxiv.org", "github.com", "colab.research.google.com", "www.apache.org", "img.shields.io", "example.com"}
PATHS = re.compile(r"(?<![\w.])/(?:home|root|Users|work|mnt|scratch|workspace)/\w|[A-Z]:\\\\?Users")
NUMERIC_HOST = re.compile(r"(?<![\d.])(?!127\.0\.0\.1|0\.0\.0\.0)\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
# The vocabulary (CONTRIBUTING.md, "Glossary"): retired words (regular expressions) and their replacements. Underscores
# and capitals separate words: `born` is found in `born_at` and in `BornAt`, but not in `stubborn`.
RETIRED = {
    "anywhere": {
        r"newborns?|unborn|births?|born": "initial learner; initial, at initialisation; seed",
        r"newcomers?": "random program",
        r"life|lives|lived": "lifetime, lifetimes; is trained",
        r"careers?": "lifetime",
        r"told": "metrics, info; extra_args",
        r"heed(s|ed|ing)?|hears?|heard": "sensitivity; depends on",
        r"deaf": "zero initial time weights (time_init_scale = 0)",
        r"teach(es|ing)?|taught": "train; baseline; meta-test",
        r"pupils?|students(?!'s)": "learners",
        r"judge[sd]?|judging": "evaluate, measure",
        r"gauges?": "MetaTester",
        r"players?": "environments, EnvBatch",
        r"earnings": "RewardScaling",
        r"grown (agents?|learners?|networks?|weights)": "trained ...",
        r"uphill|polish(es|ed|ing)?": "pattern_search; improve",
        r"programs( that are| were)? tried|tried programs": "evaluated programs",
        r"nothing but chance|all chance|chance alone": "random",
        r"hand[- ]made": "hand-designed, baseline",
        r"mend(s|ed|ing)?": "correct; canonical",
        r"bowls?": "quadratic, QuadraticParams",
        r"population loss(es)?": "closed-form expected loss, closed_form_loss",
        r"turns? in every coordinate": "diagonal unitary AR sequences",
        r"(?<!grid[\s-])worlds?(?! (size|models?))": "environment, EnvSetup",
        r"law of (?!large)|log-uniform law": "distribution of",
        r"held clocks?|clocks?( is| are)? held|clocks? stands? still|clocks? standing still": "frozen progress",
        r"what (it )?has (become of|come to)": "metrics; final ...",
        r"see names\.py": "the full sentence",
        r"experiments[./]common": "lopt.training, lopt.evaluation, experiments.cli",
        r"experiments[./]mirror": "experiments.drift",
    },
    "in identifiers": {
        r"students?": "learner; SupervisedLearnerState",
        r"grown": "trained",
        r"tried": "evaluated",
        r"chances?": "random, probability",
        r"questions?": "query",
        r"ordinary": "classical, least_squares",
        r"proceed": "auto_reset",
        r"(?<!power )laws?": "distribution, IntDistribution",
        r"who": "the noun: rule, method, baseline",
    },
    "as a class": {  # also in text after a dot or a backquote
        "Chance": "RandomSearch",
        "Designed": "FromOptax",
        "Finite": "FrozenSet",
        "Head": "Trainable",
        "HeadFactory": "TrainableFactory",
        "HeadState": "TrainableState",
        "HeldTime": "FrozenProgress",
        "Judged": "ReturnAccumulator",
        "Late": "PowerLossWeight",
        "NetHead": "TrainableNet",
        "Reader": "InContextLearnerState",
        "Rotations": "DiagonalUnitaryAR",
        "Start": "InitialDistribution",
        "TableHead": "TrainableTable",
        "Together": "MultiEnvLifetime",
    },
}
RETIRED_ALLOWED = {  # (files, word): reason
    ("lopt/rules/parts.py", "HeldTime"): "rule files of version 0.1.0 hold this name",
    ("lopt/rules/parts.py", "Designed"): "rule files of version 0.1.0 hold this name",
    ("tests/rules/test_load.py", "HeldTime"): "the same rule files are read",
    ("tests/*.py", "law"): "a law that every implementation of a contract satisfies",
    ("tests/*.py", "laws"): "the laws that every implementation of a contract satisfies",
}
RECORDED = re.compile(r"results/[\w./-]+")  # recorded results keep the names of their folders and files
VOCABULARY_FOLDERS = ("lopt", "envs", "experiments", "tests", "notebooks")
VOCABULARY_TEXTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "docs/*/*.md")
STUDIES = {"discorl", "drift", "grid", "incontext", "optimizer", "search"}
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
        wrong = {m for m in ours if not re.match(r"envs|lopt\.(types|protocols|tree)\b", m)}
        assert not wrong, f"envs imports {wrong}"
    else:
        assert not any(m.startswith("tests") for m in ours), "experiments import tests"
        check_studies(rest, {m.split(".")[1] for m in ours if m.startswith("experiments.")})


def check_studies(parts: list[str], imported: set[str]) -> None:
    """A study uses what all share and itself; a module of its own, one study; the shared command line, no study."""
    studies = imported & STUDIES
    if parts[0] in STUDIES:
        assert studies <= {parts[0]}, f"experiments.{parts[0]} imports {studies - {parts[0]}}"
    elif parts[0] == "cli":
        assert not studies, f"experiments.cli imports {studies}"
    elif parts[0] != "benchmark":
        assert len(studies) <= 1, f"experiments.{parts[0]} imports {studies}"


@pytest.mark.parametrize(
    ("path", "module"),
    [
        ("experiments/drift/train.py", "experiments.grid.config"),
        ("experiments/cli/levels.py", "experiments.grid.names"),
        ("lopt/training/loop.py", "lopt.meta.learner"),
        ("lopt/meta/es.py", "lopt.agents.agent"),
        ("lopt/types.py", "lopt.tree"),
        ("lopt/optimizers/lion.py", "lopt.meta.learner"),
        ("lopt/tree.py", "envs.chain"),
        ("lopt/unknown.py", "lopt.types"),
        ("envs/chain.py", "lopt.nets"),
        ("experiments/grid/train.py", "tests.training.toy"),
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


def pieces(path: str, source: str) -> Iterator[tuple[bool, int, str]]:
    """`(is an identifier, first line, text)` of every identifier, comment and string; of the whole text elsewhere."""
    if not path.endswith(".py"):
        yield False, 1, source
        return
    text_tokens = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME or token.type in text_tokens:
            yield token.type == tokenize.NAME, token.start[0], token.string


def any_of(patterns: Iterable[str]) -> re.Pattern[str]:
    """One regular expression for whole words; the number of a match's last group identifies its pattern."""
    spaced = [pattern.replace(" ", "[ \n]") for pattern in patterns]
    return re.compile(
        r"(?<![a-z])(?:" + "|".join(f"(?P<_{i}>{pattern})" for i, pattern in enumerate(spaced)) + ")(?![a-z])"
    )


IN_TEXT = RETIRED["anywhere"]
IN_IDENTIFIERS = RETIRED["in identifiers"] | RETIRED["anywhere"]
CLASSES = "|".join(RETIRED["as a class"])
WORDS = {False: (any_of(IN_TEXT), [*IN_TEXT.values()]), True: (any_of(IN_IDENTIFIERS), [*IN_IDENTIFIERS.values()])}


@functools.cache
def matches(is_identifier: bool, text: str) -> list[tuple[int, str, str]]:
    """`(lines below the first, retired word, replacement)` for each retired word of a piece."""
    text = RECORDED.sub("", text)
    found = [
        (text.count("\n", 0, match.start()), match[0], RETIRED["as a class"][match[0]])
        for match in re.finditer(rf"{'^' if is_identifier else '(?<=[.`])'}({CLASSES})(?!\w)", text)
    ]
    words = re.sub(r"\\[nt]", "  ", text)  # an escape sequence separates words, too
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_", " ", words).lower()
    words = re.sub(r"[ \t]*\n[ \t]*", "\n", words)  # a line break is one character, as a space is
    pattern, replacements = WORDS[is_identifier]
    return found + [
        (words.count("\n", 0, match.start()), match[0], replacements[int(match.lastgroup[1:])])
        for match in pattern.finditer(words)
    ]


def retired_words(path: str, source: str) -> list[tuple[str, str]]:
    """`(word, message)` for each retired word of a file; the message names file, line and replacement."""
    return [
        (word, f"{path}:{line + below}: {' '.join(word.split())!r}; say: {instead}")
        for is_identifier, line, text in pieces(path, source)
        for below, word, instead in matches(is_identifier, text)
    ]


def check_words(files: Iterable[tuple[str, str]]) -> None:
    wrong, used = [], set()
    for path, source in files:
        for word, message in retired_words(path, source):
            allowed = {key for key in RETIRED_ALLOWED if fnmatch.fnmatch(path, key[0]) and key[1] == word}
            used |= allowed
            wrong += [] if allowed else [message]
    unused = [f"RETIRED_ALLOWED: {key} is not needed any more" for key in RETIRED_ALLOWED.keys() - used]
    assert not wrong + unused, f"{len(wrong)} retired words:\n" + "\n".join(wrong + unused)


def test_the_vocabulary():
    """The field's words: no retired word in identifiers, docstrings, comments, strings and documentation."""
    paths = [
        path
        for path in text_files()
        if path != Path(__file__)  # it holds the table
        and (
            any(fnmatch.fnmatch(name(path), pattern) for pattern in VOCABULARY_TEXTS)
            or (path.suffix == ".py" and name(path).startswith(VOCABULARY_FOLDERS))
        )
    ]
    assert len(paths) > 20
    check_words((name(path), path.read_text(encoding="utf-8")) for path in paths)


@pytest.mark.parametrize(
    ("source", "line", "word"),
    [
        ("def f(x):\n    newborns = x\n    return newborns", 2, "newborns"),
        ("class BornAt: ...", 1, "born"),
        ("KEY_LIVES = 3", 1, "lives"),
        ("x = 1  # what the optimizer is told", 1, "told"),
        ('"""One line.\n\n    A learner that is Judged.\n    """', 3, "judged"),
        ('"""The mean over a whole\n    life."""', 2, "life"),
        ("x = f'{y} lives of {z} updates'", 1, "lives"),
        ("x = 'learners\\nborn'", 1, "born"),
        ('"""Programs of nothing but\n    chance."""', 1, "nothing but chance"),
        ("def teach(student): ...", 1, "student"),
        ("from lopt.optimizers import Designed", 1, "Designed"),
        ("x = 'lopt.objectives.HeldTime'", 1, "HeldTime"),
        ("WORLD = 1", 1, "world"),
        ("x = 1  # the small worlds", 1, "worlds"),
        ("import experiments.cli  # formerly experiments.common", 1, "experiments.common"),
    ],
)
def test_the_vocabulary_has_teeth(source, line, word):
    with pytest.raises(AssertionError, match=rf"lopt/synthetic\.py:{line}: '{word}'; say: "):
        check_words([("lopt/synthetic.py", source)])


@pytest.mark.parametrize(
    "source",
    [
        "class GridWorld: ...\ngrid_world = stubborn = lifetime = storyteller = 1",
        '"""A grid\n    world, and grid-worlds."""',
        '"""Student\'s t; a lifetime; the law of large numbers."""',
        "x = 'results/horizons_deaf/report.md'",
        "x = 'Designed to start late, in finite time'",
    ],
)
def test_the_vocabulary_allows_the_fields_words(source):
    assert not retired_words("lopt/synthetic.py", source)


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_lopt_is_as_light_as_optax():
    extra = loaded_by("import lopt") - loaded_by("import optax, flax, jaxtyping")
    outside = {m.split(".")[0] for m in extra} - set(sys.stdlib_module_names) - {"lopt"}
    assert not outside, f"import lopt also loads {sorted(outside)}"
    assert not any(m.startswith("flax.nnx") for m in extra)
