"""Rules as functions of numpy arrays, without JAX: drifts, programs and per-parameter optimizers."""

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
from lopt.optimizers.adafactor_rule import FACTORED, MOMENTA, SQUARES
from lopt.optimizers.features import TIME_SCALES, matrix_axes
from lopt.search import Program, ProgramDrift, evaluator, prune_loop
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
