"""Command line of a study: presets, one option per field of the configuration, and errors without a traceback.

if __name__ == "__main__":
    launch(main, GrooveConfig, PRESETS)
"""

import importlib
import inspect
import linecache
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Annotated, Any, TypeVar

import tyro

from envs.names import unknown_name
from lopt.training import CheckpointError, Outcome, RunConfig, enable_compilation_cache, program, run_config

Config = TypeVar("Config")
Value = TypeVar("Value")
Run = Annotated[RunConfig, tyro.conf.arg(name="")]
"""The type of a study's `run` field: its options appear on the command line without a prefix."""
EXIT_CODES = {CheckpointError: 4, FloatingPointError: 3, OSError: 74, ValueError: 2, ImportError: 2}
"""Exit codes by error, the more special one first; `report_errors` lists them all."""
STOPPED = 75
"""Exit code of a run that was stopped and can be resumed (EX_TEMPFAIL)."""


def imported(kind: str, path: str) -> Any:
    """The object with the import path `package.module.name`, for parts that are not lopt's.

    Raises:
        ValueError: no such module, or no such name in it.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{kind}: cannot import {path!r} ({error}); expected a name, or package.module.name"
        ) from error


def is_import_path(name: str) -> bool:
    """Whether a name has the form `package.module.name`."""
    return "." in name and all(word.isidentifier() for word in name.split("."))


def instantiate(found: Any, **arguments: Any) -> Any:
    """What an import path stands for: an object, or a class or function that is called with the arguments.

    Raises:
        ValueError: it does not take these arguments.
    """
    if not isinstance(found, (type, FunctionType)):
        return found
    try:
        return found(**arguments)
    except TypeError as error:
        call = f"{found.__module__}.{found.__qualname__}({', '.join(arguments)})"
        raise ValueError(f"{call} cannot be called: {error}") from error


def check_contract(name: str, init: Callable[..., Any], step: Callable[..., Any], rule: Any = None) -> None:
    """Trace the first state and one step, without computing anything, so that a part that does not fit ends here.

    Args:
        name: of the parts of another package.
        init: `key -> state`.
        step: `(key, state) -> (state, metrics)`.
        rule: what a rule file of the run will describe.

    Raises:
        ValueError: a part of `name` fails, or changes the structure of the state, or cannot be described in a rule
            file; the error says how.
    """
    import jax

    from lopt.rules import card_of

    key = jax.random.key(0)
    if rule is not None:
        card_of(rule)
    try:
        state = jax.eval_shape(init, key)
        after, _ = jax.eval_shape(step, key, state)
    except Exception as error:  # whatever a foreign part raises is its own
        raise ValueError(
            f"{name} does not fulfil its contract (lopt/protocols.py): {type(error).__name__}: {error}"
        ) from error
    before: Any = jax.tree.structure(state)
    then: Any = jax.tree.structure(after)
    if before != then:
        raise ValueError(f"{name} does not fulfil its contract: a step changes the structure of the state")


def choose(kind: str, got: str, choices: Mapping[str, Value], *, extensible: bool = False) -> Value:
    """`choices[got]`; if `extensible`, a name with a dot that is no choice is an import path (`imported`).

    Raises:
        ValueError: an unknown name (near matches and all names are listed), or a path that cannot be imported.
    """
    if got in choices:
        return choices[got]
    if extensible and "." in got:
        return imported(kind, got)
    raise unknown_name(kind, got, choices)


def parse(config_class: type[Config], presets: Mapping[str, Config], argv: Sequence[str] | None = None) -> Config:
    """Read a configuration from the command line: `--preset NAME` chooses the defaults, options override them.

    The first preset is the default. `--help` begins with the examples and the main options of the study, from the
    docstring of its module, and lists every field with its docstring and the value of the chosen preset.

    Raises:
        ValueError: an unknown preset, or a value that the configuration rejects.
        SystemExit: an option that does not parse (code 2), or `--help` (code 0).
    """
    chosen, rest = _take("--preset", sys.argv[1:] if argv is None else argv)
    names = list(presets)
    name = chosen[-1] if chosen else names[0]
    if name is None:
        raise ValueError("--preset: a name must follow")
    base = choose("preset", name, presets)
    about = inspect.cleandoc(config_class.__doc__ or "").split("\n\nRaises:")[0]
    description = (
        f"{about}\n\n{examples(sys.modules['__main__'].__doc__)}Presets (--preset NAME, default {names[0]}): "
        f"{', '.join(names)}. Defaults below are those of the chosen preset."
    )
    return tyro.cli(config_class, args=rest, default=base, prog=program(), description=description)


def examples(docstring: str | None) -> str:
    """The docstring of a study's module from its examples on, with an empty line at the end; empty without any."""
    _, found, rest = (docstring or "").partition("\nExamples:\n")
    return f"{found.lstrip()}{rest.rstrip()}\n\n" if found else ""


def launch(
    main: Callable[[Any], Outcome | None],
    config_class: type[Config],
    presets: Mapping[str, Config],
    argv: Sequence[str] | None = None,
) -> None:
    """Parse the command line, enable the compilation cache and call `main(config)` under `report_errors`.

    The process ends with exit code 75 if `main` returns the outcome of a run that was stopped before its last step.
    """

    def run():
        config = parse(config_class, presets, argv)
        if run_config(config).cache:
            enable_compilation_cache()
        outcome = main(config)
        if outcome is not None and outcome.stopped:
            sys.exit(STOPPED)

    report_errors(run)


def option(name: str, argv: Sequence[str]) -> str | None:
    """The value of the last option of this name among the arguments; None if it is not given."""
    values, _ = _take(name, argv)
    return values[-1] if values else None


def report_errors(function: Callable[[], None]) -> None:
    """Call `function`, and end the process with a one-line message on errors raised by a statement of this project.

    Exit codes:

        0    finished
        2    bad input (`ValueError`), or a missing optional package (`ImportError`)
        3    the run diverged: a metric was not finite (`FloatingPointError`)
        4    no checkpoint can be used (`CheckpointError`)
        74   a file could not be read or written (`OSError`): a full disk, a deleted folder
        75   stopped before its last step, with a checkpoint (`launch`)
        130  Ctrl-C before the run began, or a second one
        141  the reader of the output has gone (`... --help | head`)

    Errors raised in other packages keep their traceback, but for those of files; with `LOPT_TRACEBACK=1` all errors do.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # while modules are imported it is another one
    try:
        try:
            function()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # the interpreter flushes stdout once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)
    except (ValueError, FloatingPointError, ImportError, OSError) as error:
        if os.environ.get("LOPT_TRACEBACK") or not (isinstance(error, OSError) or _raised_here(error)):
            raise
        lines = [f"error: {error}", *filter(None, getattr(error, "__notes__", ()))]
        print("\n  ".join(lines), file=sys.stderr, flush=True)
        sys.exit(next(code for kind, code in EXIT_CODES.items() if isinstance(error, kind)))


def _take(name: str, argv: Sequence[str]) -> tuple[list[str | None], list[str]]:
    """The values of every option of this name, None where nothing follows it, and the other arguments."""
    values: list[str | None] = []
    rest, words = [], iter(argv)
    for word in words:
        if word == name:
            values.append(next(words, None))
        elif word.startswith(f"{name}="):
            values.append(word.removeprefix(f"{name}="))
        else:
            rest.append(word)
    return values, rest


def _raised_here(error: BaseException) -> bool:
    """Whether a `raise` statement of this project raised the error, and not a library that it calls."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return False
    module = trace.tb_frame.f_globals.get("__name__", "")
    of_this_project = module.split(".")[0] in ("lopt", "envs", "experiments", "__main__")
    line = linecache.getline(trace.tb_frame.f_code.co_filename, trace.tb_lineno).strip()
    return of_this_project and line.startswith("raise ")
