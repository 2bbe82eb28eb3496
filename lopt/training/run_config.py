"""The options common to all runs, and the identity of a run.

A study's configuration is a frozen dataclass with a field `run: Run = RunConfig(out="runs/<name>")`. Its
*identity* is every field except the run controls (where to write, when to stop, what to show): a run may be
resumed with another time limit or logger, but not with another learning rate or seed. `describe` gives an object
without a configuration, such as a learner handed to `fit`, an identity.
"""

import dataclasses
import enum
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np


@dataclass(frozen=True)
class RunConfig:
    """The run controls: output folder, seed, time limit, resuming, checkpoints, logger and display.

    Raises:
        ValueError: a value out of range, or `resume` together with `overwrite`.
    """

    out: str = "runs/unnamed"
    """Folder for all files of the run. It must be empty, except with --resume or --overwrite."""
    seed: int = 0
    """Seed of all random numbers, an integer in [0, 2^32). A resumed run must have the same seed."""
    max_minutes: float | None = None
    """Time limit in minutes of wall time, with compilation. The run then stops with a checkpoint; None is no limit."""
    resume: bool = False
    """Continue the run in the folder from its newest checkpoint."""
    overwrite: bool = False
    """Delete the run in the folder and start a new one."""
    checkpoint_minutes: float = 2.0
    """Wall time between checkpoints in minutes. 0 saves one after every chunk of steps."""
    log: Literal["none", "wandb", "tensorboard"] = "none"
    """Logger that receives the metrics besides metrics.jsonl. Its package must be installed."""
    cache: bool = True
    """Keep compiled programs on disk (JAX's compilation cache), so that the next start does not compile them again."""
    progress: bool = True
    """Show a progress bar, or print lines where the output is not a terminal."""

    def __post_init__(self):
        if not self.out.strip():
            raise ValueError("out: must name a folder (got an empty string)")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed: must be in [0, 2**32) (got {self.seed})")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise ValueError(f"max-minutes: must be > 0 (got {self.max_minutes})")
        if not 0 <= self.checkpoint_minutes < math.inf:
            raise ValueError(f"checkpoint-minutes: must be >= 0 and finite (got {self.checkpoint_minutes})")
        if self.resume and self.overwrite:
            raise ValueError("--resume and --overwrite exclude each other: give one of them")


def to_json(value: Any) -> Any:
    """A configuration as JSON data; a dataclass becomes a dict with its class name as `kind`.

    Raises:
        ValueError: a value that has no JSON form (a function, an array).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, dict):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"configuration: {value!r} ({type(value).__name__}) has no JSON form; use numbers and strings")


def from_json(config_class: type, data: Any) -> Any:
    """The configuration from the JSON data of `to_json` or `identity`; missing fields get their defaults.

    Raises:
        ValueError: an unknown field, or a value that the class rejects.
    """
    hints = typing.get_type_hints(config_class)
    values = {}
    for name, value in data.items():
        if name in ("kind", "seed") and name not in hints:
            continue
        if name not in hints:
            raise ValueError(f"configuration: {config_class.__name__} has no field {name!r}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            value = from_json(hints[name], value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)


def identity(config: Any) -> dict[str, Any]:
    """The identity of a run as JSON data: every field of the study's configuration but `run`, and the seed."""
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, RunConfig):
            result["seed"] = value.seed
        else:
            result[field.name] = to_json(value)
    return result


def fingerprint(config: Any) -> str:
    """A hash of `identity(config)`: 16 hexadecimal digits."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_config(config: Any) -> RunConfig:
    """The field of type `RunConfig` of a study's configuration, or the argument itself if it is one.

    Raises:
        ValueError: there is no such field.
    """
    if isinstance(config, RunConfig):
        return config
    for field in dataclasses.fields(config):
        if isinstance(getattr(config, field.name), RunConfig):
            return getattr(config, field.name)
    raise ValueError(f"{type(config).__name__}: has no field of type RunConfig (expected one: `run: RunConfig`)")


def differences(old: Any, new: Any, path: str = "", where: tuple[str, str] = ("in the folder", "now")) -> list[str]:
    """One line for each leaf in which two JSON data differ: `name: OLD in the folder, NEW now`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in sorted(old.keys() | new.keys()):
            inner = f"{path}.{name}" if path else name
            lines += differences(old.get(name, "(absent)"), new.get(name, "(absent)"), inner, where)
        return lines
    return [] if old == new else [f"{path}: {old} {where[0]}, {new} {where[1]}"]


def describe(value: Any) -> Any:
    """JSON data that differs where two objects are configured differently.

    Dataclasses are described by their fields, functions by their names, default arguments and the variables that they
    close over (so a learning rate inside an optax transformation counts), partial functions by function and arguments,
    arrays by shape, type and a hash of their values. Of any other object the class alone counts. The text of a function
    does not count: after a change of it, start in another folder.
    """
    return _describe(value, frozenset())


def _describe(value: Any, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, type):
        return _name(value)
    if id(value) in above:
        return "..."
    return _described_object(value, lambda inner: _describe(inner, above | {id(value)}))


def _described_object(value: Any, inner: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return _array(value)
    if isinstance(value, Mapping):
        return {str(name): inner(x) for name, x in value.items()}
    if isinstance(value, (tuple, list)):
        return [inner(x) for x in value]
    if dataclasses.is_dataclass(value):
        fields = {field.name: inner(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"kind": _name(type(value)), **fields}
    if isinstance(value, functools.partial):
        return {"kind": inner(value.func), "args": inner(value.args), "kwargs": inner(value.keywords)}
    if isinstance(value, types.MethodType):
        return {"kind": _name(value.__func__), "self": inner(value.__self__)}
    if isinstance(value, types.FunctionType):
        cells = zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
        closed = {name: inner(_content(cell)) for name, cell in cells}
        return {"kind": _name(value), "defaults": inner(value.__defaults__ or ()), "closure": closed}
    return _name(value if isinstance(value, types.BuiltinFunctionType) else type(value))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a variable that is not assigned yet
        return None


def _array(value: Any) -> dict[str, Any]:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    data = np.asarray(value)
    return {
        "shape": list(data.shape),
        "dtype": str(data.dtype),
        "sha256": hashlib.sha256(np.ascontiguousarray(data).tobytes()).hexdigest()[:16],
    }


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
