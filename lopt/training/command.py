"""The command that started a run, and the one that resumes it."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path


def program() -> str:
    """The command of this process without its options: `python -m experiments.groove`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return "python -m " + spec.name.removesuffix(".__main__")
    return "python " + os.path.basename(sys.argv[0])


def command_line(argv: Sequence[str] | None = None) -> str:
    """The shell command that started this run, without `--resume` and `--overwrite`; `argv` replaces `sys.argv[1:]`."""
    words = sys.argv[1:] if argv is None else argv
    words = [word for word in words if word not in ("--resume", "--overwrite", "--no-resume", "--no-overwrite")]
    return shlex.join([*program().split(), *words])


def resume_command(argv: Sequence[str] | None = None) -> str:
    """The shell command that resumes this run; `argv` replaces `sys.argv[1:]`."""
    return resume_line(command_line(argv))


def resume_line(command: str) -> str:
    """The shell command that resumes the run started by `command`, without its time limit (see `runnable`)."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word in ("--max-minutes", "--max_minutes"):
            next(words, None)
        elif not word.startswith(("--max-minutes=", "--max_minutes=")):
            kept.append(word)
    return f"{runnable(shlex.join(kept))} --resume"


def runnable(command: str) -> str:
    """`command` with a leading `python` replaced by the interpreter of this process (see `interpreter`)."""
    first, space, rest = command.partition(" ")
    return f"{shlex.quote(interpreter())}{space}{rest}" if first == "python" else command


def interpreter() -> str:
    """The name of this process's Python for a shell in the current folder.

    It is `python` if that is the first one on the PATH, else a relative path below the current folder, else an absolute
    path.
    """
    # links are not followed: the python of a virtual environment is one
    path = Path(os.path.abspath(sys.executable))
    first = shutil.which("python")
    if not sys.executable or (first and Path(os.path.abspath(first)) == path):
        return "python"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
