"""Objects as plain data and back: what a rule's card holds of the class that its meta-parameters belong to."""

import dataclasses
import importlib
from typing import Any

from lopt.export.rule import Card
from lopt.search import Program, parse

PROGRAM = "lopt.search.Program"
PACKAGE = "lopt."


def card_of(part: Any, **provenance: Any) -> Card:
    """The card of a rule whose meta-parameters are `part`'s; `provenance` are the card's other fields.

    Raises:
        ValueError: a part that is not one of lopt's dataclasses, or has an attribute without a plain form.
    """
    described = describe(part)
    if not isinstance(described, dict) or "config" not in described:
        raise ValueError(f"card_of: expected an instance of one of lopt's dataclasses (got {part!r})")
    return Card(kind=described["kind"], config=described["config"], **provenance)


def rebuild(card: Card) -> Any:
    """The object that `card_of` described.

    Raises:
        ValueError: a kind that this lopt does not have, or arguments that it does not take.
    """
    return _made(card.kind, card.config)


def describe(value: Any) -> Any:
    """Plain data for a value: lopt's objects are `{"kind", "config"}`, its classes `{"kind"}`, tuples lists.

    A program's config is its text.

    Raises:
        ValueError: a value without such a form.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (tuple, list)):
        return [describe(x) for x in value]
    if isinstance(value, type) and value.__module__.startswith(PACKAGE):
        return {"kind": _public(value)}
    if isinstance(value, Program):
        return {"kind": PROGRAM, "config": {"program": value.text(), "num_inputs": len(value.inputs)}}
    kind = type(value)
    if dataclasses.is_dataclass(value) and kind.__module__.startswith(PACKAGE):
        fields = [field.name for field in dataclasses.fields(value) if field.init]
        return {"kind": _public(kind), "config": {name: describe(getattr(value, name)) for name in fields}}
    raise ValueError(f"a rule's card can hold lopt's own parts and plain data (got {value!r})")


def revive(data: Any) -> Any:
    """The value that `describe` described.

    Raises:
        ValueError: as `rebuild`.
    """
    if isinstance(data, dict):
        if "config" in data:
            return _made(data.get("kind", ""), data["config"])
        return _found(data.get("kind", ""))
    return tuple(revive(x) for x in data) if isinstance(data, list) else data


def _made(kind: str, config: dict[str, Any]) -> Any:
    if kind == PROGRAM:
        return parse(str(config.get("program")), int(config.get("num_inputs", 2)))
    found = _found(kind)
    if not dataclasses.is_dataclass(found):
        raise ValueError(f"rule: {kind} cannot be rebuilt from a card")
    known = {field.name for field in dataclasses.fields(found) if field.init}
    if unknown := sorted(set(config) - known):
        raise ValueError(f"rule: {kind} has no {', '.join(unknown)} (it has {', '.join(sorted(known))})")
    return found(**{name: revive(value) for name, value in config.items()})


def _found(kind: str) -> type:
    """The class of a name; nothing outside lopt is ever imported."""
    module, _, name = kind.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name) if module.startswith(PACKAGE) else None
    except (ImportError, AttributeError):
        found = None
    if not isinstance(found, type):
        raise ValueError(f"rule: this lopt has no {kind!r}; load it with the version its card names")
    return found


def _public(kind: type) -> str:
    """The shortest module that has the class under its own name, as users write it."""
    parts = kind.__module__.split(".")
    for length in range(2, len(parts) + 1):
        module = ".".join(parts[:length])
        if getattr(importlib.import_module(module), kind.__name__, None) is kind:
            return f"{module}.{kind.__name__}"
    raise ValueError(f"a rule's card can hold classes that a module names (got {kind!r})")
