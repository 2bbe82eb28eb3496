"""Rules as files: those that come with lopt, their list and cards; loading, saving and shipping a rule.

    print(lopt.list_rules())                       # the shipped rules, as a table
    print(lopt.rules.card("lpo-cartpole"))         # where it comes from, what it reaches, where it fails
    drift = lopt.load("lpo-cartpole")              # ready for use; `lopt.load("runs/lpo/rule")` for a file of one's own

A rule is two files: `.npz` (meta-parameters) and `.json` (its card). A shipped one lies in the folder `shipped`, and is
registered by that alone.
"""

from lopt.rules.load import learned, load, scale_by_learned
from lopt.rules.loaded import LoadedDrift, LoadedObjective, LoadedOptimizer, TrainedAgent
from lopt.rules.numpy_forms import NumpyOptimizer
from lopt.rules.parts import card_of, describe, load_program, rebuild, save_program
from lopt.rules.registry import Entry, RuleList, card, list_rules
from lopt.rules.rule import Card, Result, Rule, load_rule, save_rule
from lopt.rules.ship import probe, ship

__all__ = [
    "Card",
    "Entry",
    "LoadedDrift",
    "LoadedObjective",
    "LoadedOptimizer",
    "NumpyOptimizer",
    "Result",
    "Rule",
    "RuleList",
    "TrainedAgent",
    "card",
    "card_of",
    "describe",
    "learned",
    "list_rules",
    "load",
    "load_program",
    "load_rule",
    "probe",
    "rebuild",
    "save_program",
    "save_rule",
    "scale_by_learned",
    "ship",
]
