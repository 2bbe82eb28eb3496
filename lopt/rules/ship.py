"""A rule file with a complete card, as the rules that come with lopt have it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from lopt.rules.load import load
from lopt.rules.parts import CLASSIFIER, PROGRAM, card_of, rebuild
from lopt.rules.probe import probe
from lopt.rules.rule import Card, load_rule, save_rule

REQUIRED = ("purpose", "status", "trained_on", "commit", "hours", "hardware", "results", "limits", "licence", "golden")
"""Fields that the card of a shipped rule has, besides its kind; `command` where a command trained it."""


def ship(source: str | Path, target: str | Path, **fields: Any) -> Path:
    """Write a rule file again with a complete card and its golden outputs; into `lopt/rules/shipped`, it is registered.

    Example:
        lopt.rules.ship("runs/lpo/rule", "lopt/rules/shipped/lpo-cartpole", purpose="...", limits=("...",), ...)

    Args:
        source: the rule file of a run.
        target: the new file; its name is what `lopt.load` takes.
        **fields: fields of the card (`Card`), which replace those of `source`.

    Returns:
        The path of the card.

    Raises:
        ValueError: fields that are missing or that a card does not have, results without a headline's interval, or a
            rule that cannot be loaded.
    """
    if unknown := sorted(set(fields) - set(Card.__dataclass_fields__)):
        raise ValueError(f"ship: a card has no {', '.join(unknown)}")
    rule = load_rule(source)
    own = rule.card
    if own.kind not in (PROGRAM, CLASSIFIER):  # under the names of this version
        described = card_of(rebuild(own))
        own = replace(own, kind=described.kind, config=described.config)
    golden = tuple(round(float(x), 7) for x in probe(load(source)))
    card = replace(own, **{**fields, "golden": golden})
    check_complete(card)
    return save_rule(target, rule.theta, card)


def check_complete(card: Card) -> None:
    """Check that a card says all that the card of a shipped rule must say.

    Raises:
        ValueError: a field is missing, or the headline result has no interval.
    """
    if missing := [name for name in REQUIRED if getattr(card, name) in ("", (), None)]:
        raise ValueError(f"ship: the card of a shipped rule must have {', '.join(missing)}")
    if card.results[0].low is None:
        raise ValueError(f"ship: the first result is the headline and must have an interval (got {card.results[0]!r})")
