"""What rules are given of time, on the scale of the lifetimes of a study."""

import math
from typing import Any

from lopt.objectives import FractionAndLogLifetime


def conditioning(kind: type, shortest: float, longest: float) -> Any:
    """A conditioning of this class for lifetimes of `shortest` to `longest` updates.

    log N is taken relative to their geometric mean: |log N - log reference| is at most log(longest / shortest) / 2.
    """
    if kind is FractionAndLogLifetime:
        return FractionAndLogLifetime(reference=math.sqrt(shortest * longest))
    return kind()
