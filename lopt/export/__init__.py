"""Rule files: meta-parameters or a program, with a card that describes the rule and its provenance."""

from lopt.export.load import load
from lopt.export.parts import card_of, describe, load_program, rebuild, save_program
from lopt.export.rule import Card, Rule, load_rule, save_rule

__all__ = [
    "Card",
    "Rule",
    "card_of",
    "describe",
    "load",
    "load_program",
    "load_rule",
    "rebuild",
    "save_program",
    "save_rule",
]
