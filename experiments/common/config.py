"""The options every run shares, and what makes two runs the same experiment.

A study's configuration is a frozen dataclass with a field `run: Run = RunConfig(out="runs/<name>")`. Its
*identity* is every field except the run controls (where to write, when to stop, what to show): a run may be
resumed with another time limit or logger, never with another learning rate or seed.
"""

import dataclasses
import enum
import hashlib
import json
import math
import os
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


@dataclass(frozen=True)
class RunConfig:
    """Where the run writes, when it stops, what it shows.

    Raises:
        ValueError: a value out of range, or `resume` together with `overwrite`.
    """

    out: str = "runs/unnamed"
    """Folder that receives everything the run writes."""
    seed: int = 0
    """Root of every random number; part of what the run is."""
    max_minutes: float | None = None
    """Stop after this many minutes of wall time (compilation included), with a checkpoint."""
    resume: bool = False
    """Go on from the newest checkpoint in the folder."""
    overwrite: bool = False
    """Delete the run that the folder holds and start afresh."""
    checkpoint_minutes: float = 2.0
    """Minutes of wall time between checkpoints; 0 saves after every chunk of steps."""
    log: Literal["none", "wandb", "tensorboard"] = "none"
    """Where metrics go besides metrics.jsonl."""
    cache: bool = True
    """Keep compiled programs on disk, so that the next start compiles nothing."""
    progress: bool = True
    """Show a progress bar (plain lines when the output is not a terminal)."""

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


Run = Annotated[RunConfig, tyro.conf.arg(name="")]
"""The type of a study's `run` field: its options appear on the command line without a prefix."""


def plain(value: Any) -> Any:
    """A configuration as JSON data; a nested dataclass carries its class name as `kind`.

    Raises:
        ValueError: a value that has no JSON form (a function, an array).
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"configuration: {value!r} ({type(value).__name__}) has no JSON form; use numbers and strings")


def revive(config_class: type, data: Any) -> Any:
    """The configuration that `plain` or `identity` made this JSON data of; fields that are missing keep their defaults.

    Raises:
        ValueError: a field that the class does not have, or a value that it rejects.
    """
    hints = typing.get_type_hints(config_class)
    values = {}
    for name, value in data.items():
        if name in ("kind", "seed") and name not in hints:
            continue
        if name not in hints:
            raise ValueError(f"configuration: {config_class.__name__} has no field {name!r}")
        if dataclasses.is_dataclass(hints[name]) and isinstance(value, dict):
            value = revive(hints[name], value)
        values[name] = tuple(value) if isinstance(value, list) else value
    return config_class(**values)


def identity(config: Any) -> dict[str, Any]:
    """What makes this run this run, as JSON data: every field of the study, and the seed."""
    result = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(value, RunConfig):
            result["seed"] = value.seed
        else:
            result[field.name] = plain(value)
    return result


def fingerprint(config: Any) -> str:
    """Sixteen hexadecimal digits that change when and only when `identity(config)` does."""
    text = json.dumps(identity(config), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_config(config: Any) -> RunConfig:
    """The `RunConfig` of a study's configuration (or the argument itself).

    Raises:
        ValueError: there is none.
    """
    if isinstance(config, RunConfig):
        return config
    for field in dataclasses.fields(config):
        if isinstance(getattr(config, field.name), RunConfig):
            return getattr(config, field.name)
    raise ValueError(f"{type(config).__name__}: has no field of type RunConfig (expected `run: Run = RunConfig()`)")


def differences(old: Any, new: Any, path: str = "", where: tuple[str, str] = ("in the folder", "now")) -> list[str]:
    """One line per leaf in which two pieces of JSON data differ: `name: OLD in the folder, NEW now`."""
    if isinstance(old, dict) and isinstance(new, dict):
        lines = []
        for name in sorted(old.keys() | new.keys()):
            inner = f"{path}.{name}" if path else name
            lines += differences(old.get(name, "(absent)"), new.get(name, "(absent)"), inner, where)
        return lines
    return [] if old == new else [f"{path}: {old} {where[0]}, {new} {where[1]}"]


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON data atomically, indented."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")
