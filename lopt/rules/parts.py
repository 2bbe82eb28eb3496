"""Conversion between lopt objects and the plain data of a rule card, which names a class or holds a program."""

import dataclasses
import importlib
import sys
from pathlib import Path
from typing import Any

from lopt.rules.rule import Card, Rule, load_rule, save_rule
from lopt.search import Program, constants_of, parse, types_of

PROGRAM = "lopt.search.Program"
CLASSIFIER = "lopt.incontext.Classifier"
PACKAGE = "lopt."
FORMER_KINDS = {
    "lopt.objectives.HeldTime": "lopt.objectives.FrozenProgress",
    "lopt.objectives.FractionAndLogLifetime": "lopt.objectives.FractionAndLogNumUpdates",
    "lopt.optimizers.Designed": "lopt.optimizers.FromOptax",
}
"""Renamed classes: names in older rule files, and the names now."""
FORMER_FIELDS = {
    "lopt.objectives.LPG": {"time_scale": "time_init_scale"},
    "lopt.objectives.LPO": {"floor": "base_drift"},
}
"""Renamed attributes of classes, likewise."""


def card_of(part: Any, **provenance: Any) -> Card:
    """The card of a rule whose meta-parameters belong to `part`.

    Args:
        part: an instance of a dataclass, of lopt or of an importable module of another package.
        provenance: the card's other fields (`command`, `seed`, ...).

    Raises:
        ValueError: a part that is no such dataclass, or has an attribute that is not convertible to plain data.
    """
    described = describe(part)
    if not isinstance(described, dict) or "config" not in described:
        raise ValueError(f"card_of: expected an instance of a dataclass (got {part!r})")
    return Card(kind=described["kind"], config=described["config"], **provenance)


def rebuild(card: Card) -> Any:
    """The object that a card describes: the inverse of `card_of`.

    Raises:
        ValueError: a kind that this version of lopt does not have, or arguments that it does not take.
    """
    return _build(card.kind, card.config)


def describe(value: Any) -> Any:
    """Plain data for a value: dataclasses become `{"kind", "config"}`, classes `{"kind"}`, tuples lists.

    A program's config is its text and number of inputs.

    Raises:
        ValueError: a value that is not convertible.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [describe(x) for x in value]
    if isinstance(value, type) and _nameable(value):
        return {"kind": _public_name(value)}
    if isinstance(value, Program):
        return {"kind": PROGRAM, "config": {"program": value.text(), "num_inputs": len(value.inputs)}}
    kind = type(value)
    if dataclasses.is_dataclass(value) and _nameable(kind):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {"kind": _public_name(kind), "config": {name: describe(getattr(value, name)) for name in fields}}
    raise ValueError(
        f"a rule's card can hold plain data, and dataclasses and classes of importable modules (got {value!r})"
    )


def from_description(data: Any) -> Any:
    """The value that `describe` described.

    Raises:
        ValueError: as `rebuild`.
    """
    if isinstance(data, dict):
        if "config" in data:
            return _build(data.get("kind", ""), data["config"])
        return _find_class(data.get("kind", ""))
    return tuple(from_description(x) for x in data) if isinstance(data, list) else data


def save_program(
    path: str | Path,
    program: Program,
    *,
    command: str = "",
    seed: int | None = None,
    metrics: dict[str, Any] | None = None,
    notes: str = "",
) -> Path:
    """Write a program as a rule file: its text in the card, its live constants c0, c1, ... in the arrays.

    Args:
        path: as in `save_rule`.
        program: a valid program.
        command, seed, metrics, notes: the provenance, as in `Card`.

    Returns:
        The path of the card.

    Raises:
        ValueError: a program that is not valid, and what `Card` raises.
    """
    types_of(program)
    card = Card(PROGRAM, describe(program)["config"], command, seed, metrics=metrics or {}, notes=notes)
    return save_rule(path, dict(constants_of(program)), card)


def load_program(path: str | Path) -> Program:
    """Read a program from a rule file; the program is parsed, not executed.

    Example:
        program = lopt.rules.load_program("runs/search/rule")
        tx = lopt.from_program(program, optax.cosine_decay_schedule(1.0, 10_000))

    Raises:
        ValueError: what `load_rule` raises; a rule of another kind; a text that is no program, or whose constants
            differ from the saved arrays.
    """
    try:
        return program_of(load_rule(path))
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"rule {path}: {error}") from error


def program_of(rule: Rule) -> Program:
    """The program of a rule.

    Raises:
        ValueError: a rule of another kind; a text that is no program, or whose constants differ from the arrays.
    """
    text = rule.card.config.get("program")
    if rule.card.kind != PROGRAM or not isinstance(text, str):
        raise ValueError(f"the rule is no program (expected kind {PROGRAM}, got {rule.card.kind})")
    program = parse(text, rule.card.config.get("num_inputs", 2))
    constants = {name: float(value) for name, value in rule.theta.items()}
    if constants != constants_of(program):
        raise ValueError(
            f"the program in the card has other constants than were saved (expected {constants}, got "
            f"{constants_of(program)}); export the rule again"
        )
    return program


def _build(kind: Any, config: Any) -> Any:
    if not isinstance(kind, str) or not isinstance(config, dict):
        raise ValueError(f"rule: a description has the name of a class and its arguments (got {kind!r} and {config!r})")
    if kind == PROGRAM:
        return parse(str(config.get("program")), int(config.get("num_inputs", 2)))
    found = _find_class(kind)
    config = {FORMER_FIELDS.get(kind, {}).get(name, name): value for name, value in config.items()}
    if not dataclasses.is_dataclass(found):
        raise ValueError(f"rule: {kind} cannot be rebuilt from a card")
    known = {field.name for field in dataclasses.fields(found) if field.init}
    if unknown := sorted(set(config) - known):
        raise ValueError(f"rule: {kind} has no {', '.join(unknown)} (it has {', '.join(sorted(known))})")
    try:
        return found(**{name: from_description(value) for name, value in config.items()})
    except (TypeError, AttributeError) as error:  # an argument that is missing, or of another type
        raise ValueError(f"rule: {kind} cannot be built from its configuration ({error})") from error


def _find_class(kind: str) -> type:
    """The class of that name, also under a former name.

    Modules of lopt are imported. No other module is: a class of another package is found if its module has been
    imported, so that a rule file never runs code of its own choice.
    """
    kind = FORMER_KINDS.get(kind, kind)
    module, _, name = kind.rpartition(".")
    try:
        scope = importlib.import_module(module) if kind.startswith(PACKAGE) else _imported(module)
        found = getattr(scope, name, None)
    except ImportError:
        found = None
    if not isinstance(found, type) or not (kind.startswith(PACKAGE) or dataclasses.is_dataclass(found)):
        where = "this lopt has no" if kind.startswith(PACKAGE) else "there is no imported dataclass"
        raise ValueError(
            f"rule: {where} {kind!r}; load it with the version its card names"
            + ("" if kind.startswith(PACKAGE) else f", after `import {module or kind}`")
        )
    return found


def _imported(module: str) -> Any:
    """A module of another package that has been imported; none of Python's own."""
    return None if module.split(".")[0] in sys.stdlib_module_names else sys.modules.get(module)


def _nameable(kind: type) -> bool:
    """Whether a class can be found again by its module and name."""
    return kind.__module__ != "__main__" and getattr(sys.modules.get(kind.__module__), kind.__name__, None) is kind


def _public_name(kind: type) -> str:
    """The class under the shortest module name that exports it, as users write it."""
    if not kind.__module__.startswith(PACKAGE):
        return f"{kind.__module__}.{kind.__name__}"
    parts = kind.__module__.split(".")
    for length in range(2, len(parts) + 1):
        module = ".".join(parts[:length])
        if getattr(importlib.import_module(module), kind.__name__, None) is kind:
            return f"{module}.{kind.__name__}"
    raise ValueError(f"a rule's card can hold classes that a module names (got {kind!r})")
