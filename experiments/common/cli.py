"""The command line of a study: presets, options from the configuration's fields, and errors without a
traceback.

if __name__ == "__main__":
    launch(main, GrooveConfig, PRESETS)
"""

import difflib
import linecache
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from experiments.common.cache import enable_compilation_cache
from experiments.common.config import run_config

Config = TypeVar("Config")
Value = TypeVar("Value")


def near_match_error(kind: str, got: str, choices: Iterable[str]) -> ValueError:
    """The error for an unknown name: what was meant, perhaps, and everything there is."""
    names = sorted(choices)
    near = difflib.get_close_matches(got, names, n=2, cutoff=0.5)
    meant = f"; did you mean {' or '.join(near)}?" if near else ";"
    return ValueError(f"unknown {kind} {got!r}{meant} choose from {', '.join(names)}")


def choose(kind: str, got: str, choices: Mapping[str, Value]) -> Value:
    """`choices[got]`.

    Raises:
        ValueError: an unknown name (near matches and all names are listed).
    """
    if got not in choices:
        raise near_match_error(kind, got, choices)
    return choices[got]


def parse(config_class: type[Config], presets: Mapping[str, Config], argv: Sequence[str] | None = None) -> Config:
    """Read a configuration from the command line: `--preset NAME` picks the base, every field overrides it.

    The first preset is the default. `--help` lists every field with its docstring and the chosen preset's
    value.

    Raises:
        ValueError: an unknown preset, or a value that the configuration rejects.
        SystemExit: an option that does not parse (code 2), or `--help` (code 0).
    """
    import tyro

    name, rest = _take_preset(sys.argv[1:] if argv is None else argv)
    names = list(presets)
    base = choose("preset", names[0] if name is None else name, presets)
    description = (
        f"{(config_class.__doc__ or '').strip()}\n\nPresets (--preset NAME, default {names[0]}): "
        f"{', '.join(names)}. Defaults below are those of the chosen preset."
    )
    return tyro.cli(config_class, args=rest, default=base, prog=program(), description=description)


def launch(
    main: Callable[[Any], None],
    config_class: type[Config],
    presets: Mapping[str, Config],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the command line, switch on the compilation cache and run `main(config)`; see `report_errors`."""

    def start():
        config = parse(config_class, presets, argv)
        if run_config(config).cache:
            enable_compilation_cache()
        main(config)

    report_errors(start)


def report_errors(function: Callable[[], None]) -> None:
    """Call `function`; an error that this project raised on purpose ends the process without a traceback.

    Exit codes: 2 for bad input (`ValueError`) and optional packages that are missing (`ImportError`), 1 for a run that
    diverged (`FloatingPointError`), 130 for Ctrl-C. Errors that come from elsewhere keep their traceback;
    `LOPT_TRACEBACK=1` shows it always.
    """
    try:
        function()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
    except (ValueError, FloatingPointError, ImportError) as error:
        if os.environ.get("LOPT_TRACEBACK") or not _raised_here(error):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(1 if isinstance(error, FloatingPointError) else 2)


def program() -> str:
    """How this process was started: `python -m experiments.groove`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None:
        return "python -m " + spec.name.removesuffix(".__main__")
    return "python " + os.path.basename(sys.argv[0])


def command_line(argv: Sequence[str] | None = None) -> str:
    """The line that started this run, without `--resume` and `--overwrite`."""
    words = sys.argv[1:] if argv is None else argv
    words = [word for word in words if word not in ("--resume", "--overwrite", "--no-resume", "--no-overwrite")]
    return shlex.join([*program().split(), *words])


def resume_command(argv: Sequence[str] | None = None) -> str:
    """The line that goes on with this run."""
    return resume_line(command_line(argv))


def resume_line(command: str) -> str:
    """The line that goes on with the run that `command` started, as `runnable`; a time limit is not repeated."""
    words = iter(shlex.split(command))
    kept = []
    for word in words:
        if word in ("--max-minutes", "--max_minutes"):
            next(words, None)
        elif not word.startswith(("--max-minutes=", "--max_minutes=")):
            kept.append(word)
    return f"{runnable(shlex.join(kept))} --resume"


def runnable(command: str) -> str:
    """A command that begins with `python`, with the interpreter of this process, which has the packages."""
    first, space, rest = command.partition(" ")
    return f"{shlex.quote(interpreter())}{space}{rest}" if first == "python" else command


def interpreter() -> str:
    """How a shell in the current folder calls the Python of this process: `python` where that is the first one on the
    PATH, a relative path below the current folder, an absolute one elsewhere."""
    # a virtual environment's python is a link: links are not followed
    path = Path(os.path.abspath(sys.executable))
    first = shutil.which("python")
    if not sys.executable or (first and Path(os.path.abspath(first)) == path):
        return "python"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _take_preset(argv: Sequence[str]) -> tuple[str | None, list[str]]:
    """The value of the last `--preset`, and the other words."""
    name, rest, words = None, [], iter(argv)
    for word in words:
        if word == "--preset":
            name = next(words, None)
            if name is None:
                raise ValueError("--preset: a name must follow")
        elif word.startswith("--preset="):
            name = word.removeprefix("--preset=")
        else:
            rest.append(word)
    return name, rest


def _raised_here(error: BaseException) -> bool:
    """Whether a `raise` statement of this project raised the error (and not a library below it)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals.get("__name__", "")
    ours = module.split(".")[0] in ("lopt", "envs", "experiments", "__main__")
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()
    return ours and line.startswith("raise ")
