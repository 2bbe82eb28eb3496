"""Rule files: meta-parameters or a program, with a card that describes the rule and its provenance."""

from lopt.rules.load import load
from lopt.rules.parts import card_of, describe, load_program, rebuild, save_program
from lopt.rules.rule import Card, Result, Rule, load_rule, save_rule

__all__ = [
    "Card",
    "Result",
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
