"""Rules without JAX: drifts, programs and per-parameter optimizers as functions of numpy arrays, and drifts as the text
of a Python function that needs numpy alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lopt.objectives import (
    DPO,
    LPO,
    Clip,
    Drift,
    Fraction,
    FractionAndLogNumUpdates,
    FrozenProgress,
    NoTime,
    RemainingFraction,
)
from lopt.optimizers import AdafactorRule
from lopt.optimizers.features import TIME_SCALES, matrix_axes
from lopt.optimizers.mlp_rule import FACTORED, MOMENTA, SQUARES
from lopt.search import POINTWISE, Program, ProgramDrift, evaluator, formula, prune_loop
from lopt.types import Theta

NumpyDrift = Callable[..., np.ndarray]
"""f(log_ratio, advantage, progress=None); progress is (updates done, updates planned), for a time-aware drift."""
Leaves = Sequence[np.ndarray]


class NumpyOptimizer(NamedTuple):
    """An optimizer of a list of numpy arrays.

    Attributes:
        init: `params -> state`.
        update: `(gradients, state, params) -> (updates, state)`; the updates are added to the parameters.
    """

    init: Callable[[Leaves], Any]
    update: Callable[[Leaves, Any, Leaves], tuple[list[np.ndarray], Any]]


def numpy_drift(drift: Drift, theta: Theta) -> NumpyDrift:
    """A drift as a function of numpy arrays, in float64.

    Raises:
        ValueError: a drift without such a form; when called, a time-aware drift without progress.
    """
    function = _drift(drift, theta)

    def checked(log_ratio: Any, advantage: Any, progress: tuple[float, float] | None = None) -> np.ndarray:
        if drift.time_aware and progress is None:
            raise ValueError("this drift depends on time and needs progress=(updates done, updates planned) (got None)")
        r, a = np.asarray(log_ratio, np.float64), np.asarray(advantage, np.float64)
        if r.shape != a.shape:
            raise ValueError(f"log_ratio and advantage must have one shape (got {r.shape} and {a.shape})")
        step, num_updates = (0.0, 1.0) if progress is None else progress
        return function(r, a, float(step), float(num_updates))

    return checked


def _drift(drift: Drift, theta: Theta) -> Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]:
    if isinstance(drift, Clip):
        return lambda r, a, *_: _relu((np.exp(r) - np.clip(np.exp(r), 1 - drift.epsilon, 1 + drift.epsilon)) * a)
    if isinstance(drift, DPO):
        return lambda r, a, *_: _dpo(drift, r, a)
    if isinstance(drift, ProgramDrift):
        return _program_drift(drift)
    if isinstance(drift, LPO):
        return _lpo(drift, theta)
    raise ValueError(f"to_numpy: there is no numpy form of a {type(drift).__name__}")


def _dpo(drift: DPO, r: np.ndarray, a: np.ndarray) -> np.ndarray:
    x = a * np.where(a >= 0, np.expm1(r), r)
    scale = np.where(a >= 0, drift.alpha, drift.beta)
    return _relu(x - scale * np.tanh(x / scale))


def _lpo(drift: LPO, theta: Theta) -> Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]:
    base = None if drift.base_drift is None else _drift(drift.base_drift, ())
    weights, out = (np.asarray(theta[name], np.float64) for name in ("hidden", "out"))
    blocks = weights.reshape(1 + drift.conditioning.features, -1, weights.shape[-1])
    time_features(drift.conditioning, 0.0, 1.0)  # refuses unknown ones at once

    def function(r: np.ndarray, a: np.ndarray, step: float, num_updates: float) -> np.ndarray:
        one_minus_r = -np.expm1(r)
        x = np.stack([r, r**2, one_minus_r, one_minus_r**2], -1)
        x = np.concatenate([x, a[..., None] * x], -1)
        time = time_features(drift.conditioning, step, num_updates)
        f = np.tanh(x @ (blocks[0] + np.tensordot(time, blocks[1:], 1))) @ out
        return _relu(f + (0.0 if base is None else base(r, a, step, num_updates)) - drift.xi)

    return function


def time_features(conditioning: Any, step: float, num_updates: float) -> np.ndarray:
    """The time features of `lopt.objectives` in numpy.

    Raises:
        ValueError: others.
    """
    if isinstance(conditioning, FrozenProgress):
        return time_features(conditioning.conditioning, round(conditioning.fraction * num_updates), num_updates)
    fraction = step / num_updates
    if isinstance(conditioning, NoTime):
        return np.zeros(0)
    if isinstance(conditioning, Fraction):
        return np.array([fraction])
    if isinstance(conditioning, RemainingFraction):
        return np.array([1 - fraction])
    if isinstance(conditioning, FractionAndLogNumUpdates):
        return np.array([fraction, np.log(num_updates / conditioning.reference)])
    raise ValueError(f"to_numpy: there is no numpy form of {type(conditioning).__name__}")


def _program_drift(drift: ProgramDrift) -> Callable[[np.ndarray, np.ndarray, float, float], np.ndarray]:
    live = prune_loop(drift.program)
    ratio, advantage = live.inputs
    evaluate = evaluator(np, live)

    def function(r: np.ndarray, a: np.ndarray, step: float, num_updates: float) -> np.ndarray:
        bound = {ratio: (np.exp(r),), advantage: (a,), live.rate: np.float64(step / num_updates)}
        with np.errstate(all="ignore"):
            return np.asarray(evaluate(bound)[0][0])

    return function


def numpy_program(program: Program, learning_rate: float | Callable[[int], float] = 1.0) -> NumpyOptimizer:
    """A program as an optimizer of numpy arrays, in float64; its state is (updates done, extra variables).

    Args:
        program: a valid program.
        learning_rate: value of the program's input lr, or a function of the number of updates done.
    """
    live = prune_loop(program)
    weights, gradient = live.inputs
    evaluate = evaluator(np, live)

    def init(params: Leaves) -> Any:
        return 0, [tuple(np.zeros(np.shape(p)) for p in params) for _ in live.extras]

    def update(gradients: Leaves, state: Any, params: Leaves) -> tuple[list[np.ndarray], Any]:
        count, extras = state
        rate = learning_rate(count) if callable(learning_rate) else learning_rate
        bound: dict[str, Any] = {live.rate: np.float64(rate), weights: _float64(params), gradient: _float64(gradients)}
        with np.errstate(all="ignore"):
            step, *after = evaluate(bound | dict(zip(live.extras, extras, strict=True)))
        return [-np.asarray(x) for x in step], (count + 1, after)

    return NumpyOptimizer(init, update)


def numpy_adafactor(rule: AdafactorRule, theta: Theta) -> NumpyOptimizer:
    """`AdafactorRule` as an optimizer of numpy arrays, in float64; its state is (updates done, moments)."""
    decays = {name: 1 - np.exp(10 * np.asarray(x, np.float64)) for name, x in theta["decays"].items()}
    layers = [theta["net"][f"layers_{2 * i}"] for i in range(len(rule.hidden) + 1)]

    def init(params: Leaves) -> Any:
        return 0, [_adafactor_zeros(np.asarray(p)) for p in params]

    def update(gradients: Leaves, state: Any, params: Leaves) -> tuple[list[np.ndarray], Any]:
        count, moments = state
        time = np.tanh(count / np.array(TIME_SCALES, np.float64) - 1.0)
        updates, after = [], []
        for g, p, old in zip(_float64(gradients), _float64(params), moments, strict=True):
            new = _adafactor_moments(g, old, decays)
            x = _adafactor_inputs(g, p, new)
            x = np.concatenate([x, np.broadcast_to(time, (*g.shape, time.size))], -1)
            for i, layer in enumerate(layers):
                x = x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)
                x = _relu(x) if i < len(rule.hidden) else x
            updates.append(-rule.step_size * x[..., 0] * np.exp(rule.exponent * x[..., 1]))
            after.append(new)
        return updates, (count + 1, after)

    return NumpyOptimizer(init, update)


def _adafactor_zeros(p: np.ndarray) -> tuple[np.ndarray, ...]:
    over_rows, over_columns = matrix_axes(p.shape)
    factored = np.zeros((*p.shape, len(FACTORED)))
    momenta, squares = np.zeros((*p.shape, len(MOMENTA))), np.zeros((*p.shape, len(SQUARES)))
    return momenta, squares, _mean(factored, over_rows), _mean(factored, over_columns)


def _adafactor_moments(
    g: np.ndarray, old: tuple[np.ndarray, ...], decays: dict[str, np.ndarray]
) -> tuple[np.ndarray, ...]:
    over_rows, over_columns = matrix_axes(g.shape)
    square = g**2 + 1e-30
    new = (g, g**2, _mean(square, over_rows), _mean(square, over_columns))
    names = ("momenta", "squares", "factored", "factored")
    return tuple(
        decays[name] * m + (1 - decays[name]) * x[..., None] for name, m, x in zip(names, old, new, strict=True)
    )


def _adafactor_inputs(g: np.ndarray, p: np.ndarray, moments: tuple[np.ndarray, ...]) -> np.ndarray:
    """The 28 features of each parameter, each divided by its root mean square over the tensor."""
    m, v, rows, columns = moments
    _, over_columns = matrix_axes(g.shape)
    relative = rows / (_mean(rows, over_columns) + 1e-9)
    scale = np.maximum(relative, 1e-9) ** -0.5 * np.maximum(columns, 1e-9) ** -0.5
    full = [x + np.zeros_like(g)[..., None] for x in (rows, columns)]
    root, gradient = (v + 1e-6) ** -0.5, g[..., None]
    inputs = [gradient, p[..., None], m, v, m * root, root, gradient * scale, m * scale, *full]
    x = np.concatenate([*inputs, *((y + 1e-8) ** -0.5 for y in full)], -1)
    return x * (1e-5 + _mean(x**2, range(x.ndim - 1))) ** -0.5


def _mean(x: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    return x.mean(tuple(axes), keepdims=True)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


def _float64(leaves: Leaves) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(x, np.float64) for x in leaves)


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
