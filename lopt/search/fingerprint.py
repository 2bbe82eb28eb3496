"""What a program does on a few prescribed runs, as a name that equal programs share however they are written."""

import hashlib
from types import SimpleNamespace

import numpy as np

from lopt.search.hashing import canonical_hash
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, evaluator

STEPS = 10
LEAST_FINITE = 0.5
"""The share of a program's outputs that must be finite for them to identify it."""

_SIZES = (40, 24)
_SCALES = np.array([[1e-6, 1e-3], [1e-3, 1e-1], [1e-2, 1.0], [1.0, 1e3]])
"""The smallest and the largest typical size of a weight's gradients, in each of the runs."""
_RATES = np.stack(
    [
        np.linspace(1.0, 0.0, STEPS),
        np.geomspace(1.0, 1e-4, STEPS),
        0.5 + 0.5 * np.cos(np.pi * np.arange(STEPS) / STEPS),
        np.linspace(0.0, 0.3, STEPS),
    ]
)[:, :, None]

_rng = np.random.default_rng(2302_06675)
_RUNS = len(_SCALES)
_LOW, _HIGH = np.log10(_SCALES[:, :1]), np.log10(_SCALES[:, 1:])
_TYPICAL = [10 ** _rng.uniform(_LOW, _HIGH, (_RUNS, n)) for n in _SIZES]
for _leaf in _TYPICAL:
    _leaf[::2, :3] = 0.0  # weights that never have a gradient
_GRADIENTS = [tuple([x * _rng.normal(size=x.shape) for x in _TYPICAL]) for _ in range(STEPS)]
for _leaves in _GRADIENTS:
    for _leaf in _leaves:
        _leaf[::2] *= _rng.random(_leaf[::2].shape) < 0.9  # and that have none for a step
_START = [10 ** _rng.uniform(-3, 0, x.shape) * _rng.choice([-1, 1], x.shape) for x in _TYPICAL]
_START[0][:, ::8] = 0.0
_WEIGHTS = [tuple([x + 0.1 * np.abs(x) * _rng.normal(size=x.shape) for x in _START]) for _ in range(STEPS)]

_ROWS = SimpleNamespace(**(vars(np) | {"sum": lambda x: np.add.reduce(x, -1, keepdims=True)}))
"""numpy with the runs side by side: a leaf is `[runs, n]`, a scalar `[]` or `[runs, 1]`."""


def fingerprint(program: Program, digits: int = 4) -> str:
    """A hash of the updates, to so many significant digits, in four runs of ten steps with state.

    The runs prescribe 64 weights in two leaves, their gradients and the schedule's value; updates are not applied.
    Gradients, of both signs, are typically 1e-6 to 1e-3, 1e-3 to 0.1, 0.01 to 1 and 1 to 1000; in two runs some are
    zero for a step, or always. The schedule runs from 1 to 0, from 1 to 1e-4, along a cosine, and from 0 to 0.3.

    Programs that are equal as functions share it, up to values on the edge of a digit, and so do programs whose
    difference does not show here: of the constants of rules that take signs, the third digit does, a fifth does not.
    Values that are not finite count with their places and their kinds (NaN, infinity, minus infinity). If fewer than
    half of the values are finite, they do not identify the program, and its fingerprint is its `canonical_hash`.

    Differs: AutoML-Zero (arXiv 2003.03384), from which functional equivalence checking comes, hashes errors after
        training, not updates.
    """
    live = prune_loop(program)
    evaluate = evaluator(_ROWS, live)
    extras = [tuple([np.zeros_like(x) for x in _START])] * len(live.extras)
    kept = []
    with np.errstate(all="ignore"):
        for w, g, rate in zip(_WEIGHTS, _GRADIENTS, _RATES.swapaxes(0, 1), strict=True):
            update, *extras = evaluate(dict(zip(live.parameters, (w, g, *extras, rate), strict=True)))
            kept += update
        values = np.concatenate(kept, axis=1).ravel()
        if np.isfinite(values).mean() < LEAST_FINITE:
            return canonical_hash(live)
        rounded = _round(values, digits)
    return hashlib.blake2b(rounded.tobytes(), digest_size=12).hexdigest()


def _round(x: np.ndarray, digits: int) -> np.ndarray:
    """To significant digits; -0 is 0, and every NaN the same."""
    size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 1.0)
    exponent = np.floor(np.log10(size))
    mantissa = np.where(np.isfinite(x), np.round(x / 10.0 ** (exponent - digits + 1)), x)
    carried = np.abs(mantissa) == 10.0**digits
    mantissa, exponent = np.where(carried, mantissa / 10, mantissa), exponent + carried
    mantissa = np.where(np.isnan(mantissa), np.nan, mantissa) + 0.0
    return np.stack([mantissa, exponent])
