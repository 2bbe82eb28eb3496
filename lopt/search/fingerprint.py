"""Behavioural hash of a program: functionally equivalent programs share it, whatever their text."""

import hashlib
from types import SimpleNamespace

import numpy as np

from lopt.search.hashing import canonical_hash
from lopt.search.liveness import prune_loop
from lopt.search.program import Program, evaluator

STEPS = 10
"""Steps of each probe run."""
MIN_FINITE = 0.5
"""Smallest fraction of finite outputs for which the outputs identify a program."""

_SIZES = (40, 24)
_SCALES = np.array([[1e-6, 1e-3], [1e-3, 1e-1], [1e-2, 1.0], [1.0, 1e3]])
"""Smallest and largest scale of a weight's gradients, in each of the runs."""
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
_GRADIENT_SCALES = [10 ** _rng.uniform(_LOW, _HIGH, (_RUNS, n)) for n in _SIZES]
for _leaf in _GRADIENT_SCALES:
    _leaf[::2, :3] = 0.0  # weights whose gradients are always zero
_GRADIENTS = [tuple([x * _rng.normal(size=x.shape) for x in _GRADIENT_SCALES]) for _ in range(STEPS)]
for _leaves in _GRADIENTS:
    for _leaf in _leaves:
        _leaf[::2] *= _rng.random(_leaf[::2].shape) < 0.9  # gradients that are zero for a step
_INITIAL_WEIGHTS = [10 ** _rng.uniform(-3, 0, x.shape) * _rng.choice([-1, 1], x.shape) for x in _GRADIENT_SCALES]
_INITIAL_WEIGHTS[0][:, ::8] = 0.0
_WEIGHTS = [tuple([x + 0.1 * np.abs(x) * _rng.normal(size=x.shape) for x in _INITIAL_WEIGHTS]) for _ in range(STEPS)]

_BATCHED_NUMPY = SimpleNamespace(**(vars(np) | {"sum": lambda x: np.add.reduce(x, -1, keepdims=True)}))
"""numpy batched over the runs: a leaf is `[runs, n]`, a scalar `[]` or `[runs, 1]`."""


def fingerprint(program: Program, digits: int = 4) -> str:
    """Hash of a program's updates, rounded to `digits` significant digits, in four probe runs of ten steps with state.

    The runs fix 64 weights in two leaves, their gradients and the learning-rate schedule; updates are not applied.
    Gradients have both signs and scales of 1e-6 to 1e-3, 1e-3 to 0.1, 0.01 to 1 and 1 to 1000; in two of the runs some
    gradients are zero for a step, or always. The schedules go from 1 to 0 and from 1 to 1e-4, follow a cosine, and rise
    from 0 to 0.3.

    Functionally equivalent programs have equal fingerprints, except where a value lies on a rounding boundary. Programs
    that differ by less than the rounding also have equal fingerprints: in rules that take signs, a change of a constant
    is detected in its third digit, but not in its fifth. Non-finite values are hashed with their positions and kinds
    (NaN, infinity, minus infinity). If fewer than half of the values are finite, the fingerprint is `canonical_hash`.

    Paper: arXiv 2003.03384 (functional equivalence checking).
    Differs: the paper hashes errors after training, not updates.
    """
    live = prune_loop(program)
    evaluate = evaluator(_BATCHED_NUMPY, live)
    extras = [tuple([np.zeros_like(x) for x in _INITIAL_WEIGHTS])] * len(live.extras)
    updates = []
    with np.errstate(all="ignore"):
        for w, g, rate in zip(_WEIGHTS, _GRADIENTS, _RATES.swapaxes(0, 1), strict=True):
            update, *extras = evaluate(dict(zip(live.parameters, (w, g, *extras, rate), strict=True)))
            updates += update
        values = np.concatenate(updates, axis=1).ravel()
        if np.isfinite(values).mean() < MIN_FINITE:
            return canonical_hash(live)
        rounded = _round(values, digits)
    return hashlib.blake2b(rounded.tobytes(), digest_size=12).hexdigest()


def _round(x: np.ndarray, digits: int) -> np.ndarray:
    """Mantissas and exponents `[2, n]`, rounded to significant digits; -0 becomes 0, and all NaN are equal."""
    size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 1.0)
    exponent = np.floor(np.log10(size))
    mantissa = np.where(np.isfinite(x), np.round(x / 10.0 ** (exponent - digits + 1)), x)
    carried = np.abs(mantissa) == 10.0**digits
    mantissa, exponent = np.where(carried, mantissa / 10, mantissa), exponent + carried
    mantissa = np.where(np.isnan(mantissa), np.nan, mantissa) + 0.0
    return np.stack([mantissa, exponent])
