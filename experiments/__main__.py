"""python -m experiments: the studies, one line each."""

import ast
from pathlib import Path


def studies() -> dict[str, str]:
    """What each study does, in one sentence of its module's docstring, by the name of the module."""
    folder = Path(__file__).parent
    modules = {path.stem: path for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")}
    modules["benchmark"] = folder / "benchmark" / "__main__.py"
    return {name: _sentence(path) for name, path in sorted(modules.items())}


def _sentence(path: Path) -> str:
    """The second paragraph of the docstring, which the usage precedes."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[1] if "\n\n" in docstring else ""


if __name__ == "__main__":
    print("python -m experiments.NAME runs a study:\n")
    for name, sentence in studies().items():
        print(f"  {name:<19} {sentence}")
    print("\nStart with python -m experiments.groove; --help has examples and all options.")
