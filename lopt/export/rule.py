"""Rule files: saved meta-parameters with a card of metadata, independent of the program that wrote them.

A rule is two files side by side. `<name>.npz` holds the meta-parameters as flat arrays whose keys are the tree's
paths joined by `/`; `<name>.json` is its card: the kind of rule, the configuration that rebuilds it, its provenance,
and the SHA-256 sum of the arrays. Reading one needs numpy alone.
"""

import hashlib
import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "lopt-rule"
VERSION = 1


@dataclass(frozen=True)
class Card:
    """Metadata of a rule file.

    Attributes:
        kind: name of the class that the meta-parameters belong to.
        config: arguments of its constructor.
        command: command that trained the rule.
        seed: its seed.
        meta_steps: number of meta-steps it was trained for.
        metrics: final metrics, as plain JSON data.
        lopt_version: version of lopt that wrote the file.
        notes: free text.

    Raises:
        ValueError: an empty kind, or values that have no JSON form.
    """

    kind: str
    config: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    seed: int | None = None
    meta_steps: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    lopt_version: str = ""
    notes: str = ""

    def __post_init__(self):
        if not self.kind:
            raise ValueError("Card: kind must name the class of the rule (got an empty string)")
        try:
            json.dumps(asdict(self), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Card: config and metrics must be finite plain JSON data ({error})") from error


@dataclass(frozen=True)
class Rule:
    """A loaded rule: `theta`, nested dicts of numpy arrays, and its card."""

    theta: Any
    card: Card


def save_rule(path: str | Path, theta: Any, card: Card) -> Path:
    """Write `<path>.npz` and `<path>.json`.

    Each file is written completely or not at all; a crash between the two is detected by `load_rule`.

    Args:
        path: the file name, with or without an ending.
        theta: an array, or nested dicts of arrays (Flax's `params`).
        card: the metadata.

    Returns:
        The path of the card.

    Raises:
        ValueError: keys that are not plain strings, or leaves that are not numeric arrays.
    """
    npz, json_path = _paths(path)
    arrays = _flatten(theta)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    data = buffer.getvalue()
    fields = {"lopt_version": _version()} | {name: value for name, value in asdict(card).items() if value != ""}
    text = {"format": FORMAT, "version": VERSION, **fields, "arrays": _shapes(arrays), "sha256": _digest(data)}
    npz.parent.mkdir(parents=True, exist_ok=True)
    _replace(npz, data)
    _replace(json_path, (json.dumps(text, indent=2, allow_nan=False) + "\n").encode())
    return json_path


def load_rule(path: str | Path) -> Rule:
    """Read a rule from `<path>.npz` and `<path>.json` (either name, or the name without its ending).

    Raises:
        ValueError: a file is missing, is not a rule file, has a newer format version, or does not match its card.
    """
    npz, json_path = _paths(path)
    for file in (json_path, npz):
        if not file.is_file():
            raise ValueError(f"rule: {file} does not exist; a rule is a .npz and a .json side by side, copy both")
    card = _read_card(json_path)
    data = npz.read_bytes()
    if _digest(data) != card["sha256"]:
        raise ValueError(f"rule: {npz} does not fit its card {json_path.name} (damaged, or of another rule); copy both")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"rule: {npz} cannot be read ({error}); export the rule again") from error
    names = Card.__dataclass_fields__
    return Rule(_unflatten(arrays), Card(**{name: value for name, value in card.items() if name in names}))


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"rule: {path} is not JSON ({error}); export the rule again") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"rule: {path} is no rule card (expected format {FORMAT!r})")
    if card.get("version") != VERSION:
        raise ValueError(
            f"rule: {path} has version {card.get('version')}, this lopt ({_version()}) reads version {VERSION}; "
            "upgrade lopt or export the rule again"
        )
    if not isinstance(card.get("kind"), str) or not isinstance(card.get("sha256"), str):
        raise ValueError(f"rule: {path} lacks its kind or its sha256; export the rule again")
    return card


def _paths(path: str | Path) -> tuple[Path, Path]:
    """The two files of a rule; a known ending of `path` is removed, dots in its name are kept."""
    path = Path(path)
    stem = path.name.removesuffix(".npz").removesuffix(".json")
    return path.with_name(stem + ".npz"), path.with_name(stem + ".json")


def _flatten(theta: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """`{"a/b": array}`; an empty dict is kept as `a/` so that the structure is restored."""
    if isinstance(theta, dict):
        arrays: dict[str, np.ndarray] = {} if theta or not prefix else {f"{prefix}/": np.zeros(0)}
        for name, value in theta.items():
            if not isinstance(name, str) or not name or "/" in name:
                raise ValueError(f"rule: keys of theta must be strings without '/' (got {name!r} below {prefix!r})")
            arrays |= _flatten(value, f"{prefix}/{name}" if prefix else name)
        return arrays
    array = np.asarray(theta)
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"rule: theta must be nested dicts of numeric arrays (got {type(theta).__name__} with dtype "
            f"{array.dtype} at {prefix or 'the top'!r})"
        )
    return {prefix or "/": array}


def _unflatten(arrays: dict[str, np.ndarray]) -> Any:
    if "/" in arrays:
        return arrays["/"]
    theta: dict[str, Any] = {}
    for path, array in arrays.items():
        *parents, name = path.split("/")
        node = theta
        for parent in parents:
            node = node.setdefault(parent, {})
        if name:
            node[name] = array
    return theta


def _shapes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("lopt")
    except PackageNotFoundError:
        return "unknown"
