"""Rule files: saved meta-parameters with a card of metadata, independent of the program that wrote them.

A rule is two files side by side. `<name>.npz` holds the meta-parameters as flat arrays whose keys are the tree's
paths joined by `/`; `<name>.json` is its card: the kind of rule, the configuration that rebuilds it, its provenance,
its results and limits, and two SHA-256 sums, of the arrays' file and of the card with the first of them. Reading one
needs numpy alone.
"""

import hashlib
import html
import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = "lopt-rule"
VERSION = 2
"""Version that is written. Files of version 1 are read; their cards have no checksum of their own."""
MAX_BYTES = 2**30
"""Largest size of the arrays of a rule, uncompressed; a larger file is refused before it is decompressed."""


@dataclass(frozen=True)
class Result:
    """A measured result of a rule, or of a baseline or control beside it, with its 95 % interval.

    Attributes:
        measure: what was measured, of which method, on what, over how many seeds.
        value: the estimate.
        low: lower end of the interval; None where none was computed.
        high: upper end.
    """

    measure: str
    value: float
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        numbers = [self.value] if self.low is None and self.high is None else [self.value, self.low, self.high]
        if not isinstance(self.measure, str) or not all(isinstance(x, (int, float)) for x in numbers):
            raise ValueError(f"Result: expected a text, a number, and both ends of its interval or none (got {self!r})")

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" [{self.low:.3g}, {self.high:.3g}]"
        return f"{self.value:.3g}{interval}"


@dataclass(frozen=True, repr=False)
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
        purpose: what the rule is for, in one sentence.
        status: how far its results can be relied on, for example "preliminary".
        trained_on: the tasks or environments of its meta-training.
        commit: commit of the code that trained it.
        hours: duration of its meta-training, in hours of `hardware`.
        hardware: that hardware.
        results: measured results, the headline first, with those of its baselines and controls.
        limits: where it fails or is not known to work; the first says how it compares with tuned baselines.
        agent: for an RL objective, the arguments of `lopt.agents.default_lifetime` that it was meta-trained with.
        licence: of the file.
        golden: outputs of the rule on fixed inputs (`lopt.rules.ship`), by which another machine or version of lopt
            checks that it computes the same rule.
        checksum: SHA-256 of the card and the arrays, of a card that was read from a file.

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
    purpose: str = ""
    status: str = ""
    trained_on: str = ""
    commit: str = ""
    hours: float | None = None
    hardware: str = ""
    results: tuple[Result, ...] = ()
    limits: tuple[str, ...] = ()
    agent: dict[str, Any] = field(default_factory=dict)
    licence: str = ""
    golden: tuple[float, ...] = ()
    checksum: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.kind:
            raise ValueError("Card: kind must name the class of the rule (got an empty string)")
        try:
            json.dumps(asdict(self), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"Card: config and metrics must be finite plain JSON data ({error})") from error

    def __repr__(self) -> str:
        arguments = {"configuration": json.dumps(self.config), "agents": json.dumps(self.agent) if self.agent else ""}
        lines: dict[str, Any] = {"status": self.status, "class": self.kind, **arguments, "trained on": self.trained_on}
        lines |= {"command": self.command, "commit": self.commit, "seed": self.seed, "meta-steps": self.meta_steps}
        lines |= {"hours": self.hours, "hardware": self.hardware, "metrics": json.dumps(self.metrics)}
        lines |= {"notes": self.notes, "lopt": self.lopt_version, "licence": self.licence, "SHA-256": self.checksum}
        text = [self.purpose] if self.purpose else []
        text += ["", "Limits:", *(f"- {limit}" for limit in self.limits)] if self.limits else []
        text += ["", "Results, with 95 % intervals:"] if self.results else []
        text += [f"- {result}: {result.measure}" for result in self.results]
        width = max(map(len, lines))
        rows = [f"{name:<{width}}  {value}" for name, value in lines.items() if value not in ("", None, "{}")]
        return "\n".join([*text, *([""] if text else []), *rows])

    def _repr_html_(self) -> str:
        return f"<pre style='white-space: pre-wrap'>{html.escape(repr(self))}</pre>"


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
    fields = {name: value for name, value in asdict(card).items() if value not in ("", (), {}, None)}
    fields["lopt_version"] = card.lopt_version or _version()
    fields.pop("checksum", None)
    text = {"format": FORMAT, "version": VERSION, **fields, "arrays": _shapes(arrays), "sha256": _digest(data)}
    text["card_sha256"] = _card_digest(text)
    npz.parent.mkdir(parents=True, exist_ok=True)
    _replace(npz, data)
    _replace(json_path, (json.dumps(text, indent=2, allow_nan=False) + "\n").encode())
    return json_path


def load_rule(path: str | Path) -> Rule:
    """Read a rule from `<path>.npz` and `<path>.json` (either name, or the name without its ending).

    Raises:
        ValueError: a file is missing, is not a rule file, has a newer format version, does not match its checksum, or
            has arrays that are not finite; the message names the file.
    """
    npz, json_path = _paths(path)
    for file in (json_path, npz):
        if not file.is_file():
            raise ValueError(f"rule: {file} does not exist; a rule is a .npz and a .json side by side, copy both")
    text = _read_card(json_path)
    data = npz.read_bytes()
    if _digest(data) != text["sha256"]:
        raise ValueError(f"rule: {npz} does not fit its card {json_path.name} (damaged, or of another rule); copy both")
    arrays = read_arrays(npz, data)
    if _shapes(arrays) != text.get("arrays", _shapes(arrays)):
        raise ValueError(f"rule: {npz} has other arrays than its card {json_path.name} lists; copy both")
    if bad := [name for name, x in arrays.items() if x.dtype.kind == "f" and not np.isfinite(x).all()]:
        raise ValueError(f"rule: {npz} has numbers that are not finite, in {', '.join(bad)}; export the rule again")
    return Rule(_unflatten(npz, arrays), _card(json_path, text))


def read_arrays(path: str | Path, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of an npz file with the content `data`.

    Raises:
        ValueError: it is damaged, or has more than `MAX_BYTES` of arrays; the message names the file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"{size} bytes of arrays, at most {MAX_BYTES} are read")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: np.asarray(file[name]) for name in file.files}
    except Exception as error:  # damaged archives raise errors of a dozen kinds, depending on the byte
        raise ValueError(f"rule: {path} cannot be read ({error}); export the rule again") from error


def _read_card(path: Path) -> dict[str, Any]:
    """The text of a card as plain data, after a check of its checksum."""
    try:
        text = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"rule: {path} is not JSON ({error}); export the rule again") from error
    if not isinstance(text, dict) or text.get("format") != FORMAT:
        raise ValueError(f"rule: {path} is no rule card (expected format {FORMAT!r})")
    version = text.get("version")
    if version not in (1, VERSION):
        raise ValueError(
            f"rule: {path} has version {version}, this lopt ({_version()}) reads versions 1 and {VERSION}; "
            "upgrade lopt or export the rule again"
        )
    if not isinstance(text.get("kind"), str) or not isinstance(text.get("sha256"), str):
        raise ValueError(f"rule: {path} lacks its kind or its sha256; export the rule again")
    if version == VERSION and text.get("card_sha256") != _card_digest(text):
        raise ValueError(f"rule: {path} does not match its checksum (damaged or edited); export the rule again")
    return text


def _card(path: Path, text: dict[str, Any]) -> Card:
    """The card of a text; what other versions of lopt added is left out."""
    fields = {name: value for name, value in text.items() if name in Card.__dataclass_fields__}
    try:
        for name in ("config", "metrics", "agent"):
            fields[name] = dict(fields.get(name) or {})
        fields["results"] = tuple(Result(**result) for result in fields.get("results", ()))
        fields["limits"] = tuple(str(limit) for limit in fields.get("limits", ()))
        fields["golden"] = tuple(float(x) for x in fields.get("golden", ()))
        fields["checksum"] = text.get("card_sha256", text["sha256"])
        return Card(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rule: {path} is no valid card ({error}); export the rule again") from error


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


def _unflatten(path: Path, arrays: dict[str, np.ndarray]) -> Any:
    if "/" in arrays:
        return arrays["/"]
    theta: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split("/")
        node = theta
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"rule: {path} has an array within an array, {name!r}; export the rule again")
        if last:
            node[last] = array
    return theta


def _shapes(arrays: dict[str, np.ndarray]) -> dict[str, str]:
    return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _card_digest(text: dict[str, Any]) -> str:
    """SHA-256 of a card without its own checksum, in canonical form; the checksum of the arrays is a part of it."""
    rest = {name: value for name, value in text.items() if name != "card_sha256"}
    return _digest(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())


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
