"""Rule files: meta-parameters with a card that says what they are and where they came from."""

from lopt.export.load import load
from lopt.export.rule import Card, Rule, load_rule, save_rule

__all__ = ["Card", "Rule", "load", "load_rule", "save_rule"]
