"""Range checks of the numbers in a configuration: `positive(config, "meta.learning_rate")`.

A name is a path of fields. `None` (an option that is not given) passes, every element of a tuple is checked, and NaN
fails every check.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any


def at_least(least: float, config: Any, *names: str, prefix: str = "") -> None:
    """Check that numbers are finite and at least `least`.

    Raises:
        ValueError: one is not; the message has the option and its value.
    """
    _check(config, names, prefix, lambda x: least <= x < math.inf, f"at least {least:g}")


def positive(config: Any, *names: str, prefix: str = "", infinite: bool = False) -> None:
    """Check that numbers are above zero and finite; `infinite` also accepts infinity (no bound).

    Raises:
        ValueError: one is not; the message has the option and its value.
    """
    _check(config, names, prefix, lambda x: 0 < x < math.inf or (infinite and x == math.inf), "positive")


def between(low: float, high: float, config: Any, *names: str, prefix: str = "", below: bool = False) -> None:
    """Check that numbers are in [low, high], or in [low, high) with `below`.

    Raises:
        ValueError: one is not; the message has the option and its value.
    """
    expected = f"at least {low:g} and below {high:g}" if below else f"between {low:g} and {high:g}"
    _check(config, names, prefix, lambda x: low <= x <= high and not (below and x == high), expected)


def multiple(config: Any, name: str, of: str) -> None:
    """Check that a number is a positive multiple of another one.

    Raises:
        ValueError: it is not; the message has both options and values.
    """
    (value,), (divisor,) = _values(config, name), _values(config, of)
    if value < 1 or value % divisor:
        options = f"{name} must be a multiple of {of}".replace("_", "-")
        raise ValueError(f"{options} (got {value} and {divisor})")


def _check(config: Any, names: tuple[str, ...], prefix: str, accepts: Callable[[Any], bool], expected: str) -> None:
    for name in names:
        for value in _values(config, name):
            if not accepts(value):
                finite = " and finite" if value == math.inf else ""
                option = f"{prefix}{name}".replace("_", "-")
                raise ValueError(f"{option} must be {expected}{finite} (got {value})")


def _values(config: Any, name: str) -> Iterator[Any]:
    """Iterate over the numbers of an option."""
    for field in name.split("."):
        config = getattr(config, field)
    if config is not None:
        yield from config if isinstance(config, tuple) else (config,)
