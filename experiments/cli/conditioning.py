"""Time inputs of rules, scaled to the lifetimes of a study."""

import math
from typing import Any

from lopt.objectives import FractionAndLogNumUpdates


def conditioning(kind: type, shortest: float, longest: float) -> Any:
    """A conditioning of the class `kind` for lifetimes of `shortest` to `longest` updates.

    The reference of log N is their geometric mean, so that |log N - log reference| <= log(longest / shortest) / 2.
    """
    if kind is FractionAndLogNumUpdates:
        return FractionAndLogNumUpdates(reference=math.sqrt(shortest * longest))
    return kind()
