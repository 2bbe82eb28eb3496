"""python -m experiments: the studies, one line each."""

import ast
from pathlib import Path


def studies() -> dict[str, str]:
    """The command line of each study, by the name of its module."""
    folder = Path(__file__).parent
    modules = {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    modules["benchmark"] = folder / "benchmark" / "__main__.py"
    usage = {
        name: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "" for name, path in modules.items()
    }
    return {name: _command(name, text) for name, text in sorted(usage.items())}


def _command(name: str, text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if f"python -m experiments.{name}" in line]
    return lines[0] if lines else f"python -m experiments.{name}"


if __name__ == "__main__":
    print("\n".join(studies().values()), "\n\nEach explains its options with --help.", sep="")
