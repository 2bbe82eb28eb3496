"""What a user has after `pip install` of the wheel: imports, the examples of the documentation, and the main command.

Run in an empty folder, with the Python of the environment that has the wheel:
`python installed.py README.md library.md tutorials/*.md`. Each block of a page is a program of its own; those of a
tutorial are one program.
"""

import os
import re
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

SECONDS = 600
"""An example that takes longer has failed."""
MINUTES = 0.5
"""How long the main command trains."""


def check_files() -> None:
    """The three packages come from the environment, with the mark that they are typed."""
    import envs
    import experiments
    import lopt

    site = Path(sysconfig.get_paths()["purelib"]).resolve()
    for package in (lopt, envs, experiments):
        folder = Path(package.__file__).resolve().parent
        assert folder.parent == site, f"{package.__name__} comes from {folder}"
        assert (folder / "py.typed").is_file(), f"{package.__name__} has no py.typed"


def examples(text: str) -> list[str]:
    """The Python blocks of a Markdown text."""
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def programs(page: Path) -> list[str]:
    """The programs of a page: its Python blocks, of a tutorial all in one."""
    blocks = examples(page.read_text(encoding="utf-8"))
    return ["\n".join(blocks)] if page.parent.name == "tutorials" else blocks


def run(*command: str, code: int = 0) -> None:
    """Run a command of this Python, which ends with this exit code; its output is shown if it does not.

    Raises:
        SystemExit: it ended with another exit code.
    """
    start = time.monotonic()
    ended = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=SECONDS, check=False)
    print(f"{time.monotonic() - start:4.0f} s  python {' '.join(command)}", flush=True)
    if ended.returncode != code:
        sys.exit(f"exit code {ended.returncode}\n{ended.stdout[-2000:]}\n{ended.stderr[-4000:]}")


def main() -> None:
    """Everything, in the current folder."""
    os.environ |= {"JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}
    assert not Path("lopt").exists(), "run this outside of the repository"
    check_files()
    for page in map(Path, sys.argv[1:]):
        for number, code in enumerate(programs(page), 1):
            path = Path(f"{page.stem}_{number}.py")
            path.write_text(code, encoding="utf-8")
            run(str(path))
    out = Path("runs", "groove")
    run("-m", "experiments.groove", "--out", str(out), "--max-minutes", str(MINUTES), code=75)
    written = {path.name for path in out.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "rule.npz", "report.md"} <= written, written
    evaluated = Path("runs", "evaluate")
    options = ("--suite", "incontext", "--tasks", "wine", "--levels", "32", "--out", str(evaluated))
    run("-m", "experiments.evaluate", "--rules", "gpicl-digits", *options)
    assert (evaluated / "results.json").is_file()
    wrong = subprocess.run(
        [sys.executable, "-m", "experiments.groove", "--score", "regrets"], capture_output=True, text=True
    )
    assert wrong.returncode == 2 and "did you mean" in wrong.stderr, wrong.stderr
    print("the wheel works")


if __name__ == "__main__":
    main()
