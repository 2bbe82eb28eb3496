"""What a program does on two small problems, as a number that equal programs share however they are written."""

import hashlib
from types import SimpleNamespace

import numpy as np

from lopt.search.liveness import prune_loop
from lopt.search.program import Program, evaluator

STEPS = 10
_SIZES = (40, 24)

_rng = np.random.default_rng(2302_06675)
_START = tuple([_rng.normal(size=(2, n)) for n in _SIZES])
_CURVATURE = tuple([np.array([[1.0], [30.0]]) * 10.0 ** _rng.uniform(-1, 0, (2, n)) for n in _SIZES])
_NOISE = [tuple([np.array([[0.3], [100.0]]) * _rng.normal(size=(2, n)) for n in _SIZES]) for _ in range(STEPS)]
for _leaves in (_CURVATURE, *_NOISE):
    _leaves[0][1, 0] = 0.0  # a weight that never has a gradient

_ROWS = SimpleNamespace(**(vars(np) | {"sum": lambda x: np.add.reduce(x, -1, keepdims=True)}))
"""numpy with the two problems side by side: a leaf is `[2, n]`, a scalar `[]` or `[2, 1]`."""


def fingerprint(program: Program, digits: int = 4) -> str:
    """A hash of the updates, to so many significant digits, over ten steps with state on two noisy quadratics.

    The quadratics differ in scale by a hundred, noise and all, and have 64 weights in two leaves; one never has a
    gradient. Programs that are equal as functions share it, up to values on the edge of a digit, and so do programs
    whose difference does not show here: of the constants of rules that take signs, the third digit does, a fifth
    does not. NaN and infinity are values like others.

    Differs: AutoML-Zero (arXiv 2003.03384), from which functional equivalence checking comes, hashes errors after
        training, not updates.
    """
    program = prune_loop(program)
    evaluate = evaluator(_ROWS, program)
    w, zeros = _START, tuple([np.zeros_like(leaf) for leaf in _START])
    extras, kept = [zeros] * len(program.extras), []
    with np.errstate(all="ignore"):
        for step in range(STEPS):
            g = tuple([h * x + noise for h, x, noise in zip(_CURVATURE, w, _NOISE[step], strict=True)])
            values = (w, g, *extras, np.float64(1.0 - 0.05 * step))
            update, *extras = evaluate(dict(zip(program.parameters, values, strict=True)))
            kept += update
            w = tuple([x - u for x, u in zip(w, update, strict=True)])
        rounded = _round(np.concatenate(kept, axis=1).ravel(), digits)
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
