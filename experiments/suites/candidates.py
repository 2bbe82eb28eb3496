"""The rows of an evaluation: rules by name or path, and the baselines of a suite."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lopt
from envs.names import unknown_name
from lopt.rules import Card
from lopt.rules.registry import find, kind_of


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
    label = path.parent.name if path.name == "rule" else path.name
    return Candidate(label, kind_of(card), lopt.load(name), str(path), card)
