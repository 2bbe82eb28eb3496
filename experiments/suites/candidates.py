"""The rows of an evaluation: rules by name or path, and the baselines of a suite."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

import lopt
from envs.names import unknown_name
from lopt.optimizers import FromOptax
from lopt.protocols import LearnedOptimizer
from lopt.rules import Card
from lopt.rules.registry import find, kind_of

FACTORS = (0.1, 10.0)
"""Smallest and largest factor on a program's schedule from 1, in the place of learning rates."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A rule that learners are trained under.

    Attributes:
        name: of its row.
        kind: "baseline", or that of `lopt.list_rules()`.
        value: what a suite's table has for a baseline, else what `lopt.load` returns.
        path: of the rule file, without its ending; empty for a baseline.
        card: the rule's card; None for a baseline.
    """

    name: str
    kind: str
    value: Any
    path: str = ""
    card: Card | None = None

    @property
    def checksum(self) -> str:
        """What its results depend on: the checksum of the rule file, or the name of the baseline."""
        return self.card.checksum if self.card is not None else self.name

    @cached_property
    def has_rate(self) -> bool:
        """Whether a rule file is an optimizer or a program whose learning rate `lopt.load` can set."""
        if self.kind not in ("optimizer", "program"):
            return False
        try:
            lopt.load(self.path, learning_rate=1.0)
        except ValueError:
            return False
        return True

    def optimizer(self, schedule: Callable[[Any, Any], Any]) -> LearnedOptimizer:
        """A rule file with its learning rate as theta, which decays by `schedule(rate, count)`; or without a rate."""
        if not self.has_rate:
            return FromOptax(lambda theta: self.value)
        return FromOptax(lambda rate: lopt.load(self.path, learning_rate=partial(schedule, rate)))

    def rates(self, grid: tuple[float, ...]) -> tuple[float, ...]:
        """The rates that a rule file is tuned over: as many factors on a program's schedule from 1; none without."""
        if not self.has_rate:
            return ()
        return tuple(np.geomspace(*FACTORS, len(grid)).tolist()) if self.kind == "program" else grid


def candidates(
    suite: str, names: Iterable[str], baselines: Mapping[str, Any], kinds: Iterable[str]
) -> dict[str, Candidate]:
    """The rows of these names: baselines of the suite, shipped rules, or paths of rule files.

    Raises:
        ValueError: an unknown name (near matches are listed), a rule of a kind that the suite does not train learners
            with, or two rules of one name.
    """
    found: dict[str, Candidate] = {}
    for name in names:
        candidate = Candidate(name, "baseline", baselines[name]) if name in baselines else _rule(suite, name, baselines)
        if candidate.kind not in ("baseline", *kinds):
            raise ValueError(
                f"--rules: suite {suite} trains learners under rules of the kind {' or '.join(kinds)} "
                f"(got {name}, of the kind {candidate.kind})"
            )
        if candidate.name in found:
            raise ValueError(f"--rules: two rules are named {candidate.name!r}; rename a file")
        found[candidate.name] = candidate
    return found


def _rule(suite: str, name: str, baselines: Mapping[str, Any]) -> Candidate:
    shipped = lopt.list_rules().names
    if name not in shipped and "/" not in name and not any(Path(name + end).is_file() for end in ("", ".npz", ".json")):
        raise unknown_name(f"rule or baseline of suite {suite}", name, [*baselines, *shipped])
    path, card = find(name), lopt.rules.card(name)
    # the rule of a run is `runs/lpo/rule`: its folder says more
    label = path.resolve().parent.name if path.name == "rule" else path.name
    if label in baselines:
        raise ValueError(f"--rules: {name} would be named like the baseline {label}; rename its folder or file")
    return Candidate(label, kind_of(card), lopt.load(name), str(path), card)
