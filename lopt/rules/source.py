"""Rules as the text of a Python function that needs numpy alone."""

from typing import Any

import numpy as np

from lopt.objectives import LPO, Drift, Fraction, NoTime, RemainingFraction
from lopt.search import POINTWISE, ProgramDrift, formula, prune_loop
from lopt.types import Theta

DEFINITIONS = {
    "max": "np.maximum",
    "min": "np.minimum",
    "cube": "lambda x: x * x * x",
    "sqrt": "lambda x: np.sqrt(np.abs(x))",
    "reciprocal": "lambda x: 1.0 / x",
    "exp10": "lambda x: np.power(10.0, x)",
    "log": "lambda x: np.log(np.abs(x))",
    "log2": "lambda x: np.log2(np.abs(x))",
    "log10": "lambda x: np.log10(np.abs(x))",
    "log1p": "lambda x: np.log(np.abs(1.0 + x))",
    "interp": "lambda x, y, a: (1.0 - a) * x + a * y",
    "get_pi": "lambda: np.pi",
    "get_e": "lambda: np.e",
    "get_eps": "lambda: 1e-8",
}
"""Functions of programs that numpy has under another name, or does not have."""
INFIX = ("add", "subtract", "multiply", "divide")

NETWORK = '''"""A learned drift f(r, A) of mirror learning: subtract it from r A in PPO's policy objective."""

import numpy as np

HIDDEN = np.array({hidden})
OUT = np.array({out})


def drift(log_ratio, advantage{argument}):
    """f(r, A), entry by entry; {time}."""
    y = -np.expm1(log_ratio)
    x = np.stack([log_ratio, log_ratio**2, y, y**2], axis=-1)
    x = np.concatenate([x, advantage[..., None] * x], axis=-1)
    return np.maximum(np.tanh(x @ {weights}) @ OUT - {xi!r}, 0.0)
'''


def drift_source(drift: Drift, theta: Theta) -> str:
    """The text of a Python module with the function `drift`, which needs numpy alone.

    A network's function is `drift(log_ratio, advantage)`, with `fraction` (n / N) as third argument if it is
    time-aware; its weights are in the text, rounded to nine digits. A program's function has the program's parameters:
    the ratio r (not its logarithm), A and n / N. A quotient a / b is there a / (b + 1e-8) in lopt.

    Raises:
        ValueError: a drift without such a text.
    """
    if isinstance(drift, ProgramDrift):
        return _program(drift)
    if isinstance(drift, LPO) and drift.base_drift is None:
        return _network(drift, theta)
    raise ValueError(f"source: there is no text of a {type(drift).__name__} (with a base drift)")


def _program(drift: ProgramDrift) -> str:
    used = {statement.function for statement in prune_loop(drift.program).statements}
    if unknown := sorted(used - {*POINTWISE}):
        raise ValueError(f"source: {', '.join(unknown)} acts on all entries at once and has no text of its own")
    names = sorted("interp" if name == "interpolate" else name for name in used - {*INFIX})
    lines = [f"{name} = {DEFINITIONS.get(name, f'np.{name}')}" for name in names]
    ratio, advantage = drift.program.inputs
    about = (
        f'"""A drift f({ratio}, {advantage}) of mirror learning: subtract it from {ratio} {advantage} in PPO\'s policy '
        f"objective.\n\n{ratio} is the probability ratio (not its logarithm), {advantage} the normalised advantage, "
        f'{drift.program.rate} the progress n / N.\n"""'
    )
    return "\n".join([about, "", "import numpy as np", "", *lines, "", "", formula(drift.program, "drift")])


def _network(drift: LPO, theta: Theta) -> str:
    factor = {NoTime: "", Fraction: "fraction", RemainingFraction: "(1 - fraction)"}.get(type(drift.conditioning))
    if factor is None:
        raise ValueError(f"source: there is no text of a drift with {type(drift.conditioning).__name__}")
    rows = np.shape(theta["hidden"])[0] // (1 + drift.conditioning.features)
    return NETWORK.format(
        hidden=_numbers(theta["hidden"]),
        out=_numbers(theta["out"]),
        argument=", fraction" if factor else "",
        time="fraction is n / N, of N updates" if factor else "arrays of one shape",
        weights=f"(HIDDEN[:{rows}] + {factor} * HIDDEN[{rows}:])" if factor else "HIDDEN",
        xi=drift.xi,
    )


def _numbers(x: Any) -> str:
    """The literal of an array of one or two axes, one line for each row."""
    x = np.asarray(x, np.float64)
    if x.ndim == 1:
        return f"[{', '.join(f'{y:.9g}' for y in x)}]"
    return "\n    ".join(["[", *(f"{_numbers(row)}," for row in x)]) + "\n]"
