"""A rule together with its meta-parameters."""

from dataclasses import dataclass
from typing import Any

from lopt.types import Key, Theta


@dataclass(frozen=True, eq=False)
class TrainedRule:
    """A rule and the meta-parameters that training gave it; `lopt.export.save_rule` writes both to a file.

    In the place of a rule, to go on from: `init` returns the meta-parameters.

    Attributes:
        rule: an objective, a learned optimizer, a drift or a sequence model.
        theta: its meta-parameters.
    """

    rule: Any
    theta: Theta

    def init(self, key: Key) -> Theta:
        """The meta-parameters, whatever the key."""
        return self.theta
