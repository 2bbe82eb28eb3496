"""Tolerances in units in the last place (ulps), for one function computed by two programs.

Two programs round in different places: a compiler fuses a product with a sum, sums in another order or divides by
multiplying with the reciprocal, depending on the processor. Equality to the last bit is therefore asserted only between
two runs of one compiled program, for integers and for copies. In other tests the tolerance is a number of roundings.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def assert_ulps(actual: Any, desired: Any, ulps: float, scale: Any = 0.0) -> None:
    """Assert |actual - desired| <= ulps * eps * (|desired| + scale) in every leaf, with the dtype's machine epsilon.

    Where terms cancel, the rounding error is proportional to the size of the terms and not of the result: `scale` is
    then the size of the terms, a number or an array that broadcasts. Integers, booleans, keys and non-finite numbers
    must be equal, and so must dtypes.
    """

    def check(x: Any, y: Any) -> None:
        x, y = _as_data(x), _as_data(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape), f"got {x.dtype}{x.shape}, expected {y.dtype}{y.shape}"
        if not jnp.issubdtype(y.dtype, jnp.floating):
            np.testing.assert_array_equal(x, y)
            return
        unit = float(jnp.finfo(y.dtype).eps)
        x, y = x.astype(np.float64), y.astype(np.float64)
        with np.errstate(invalid="ignore"):
            off = np.abs(x - y) / (unit * np.where(np.abs(y) + scale > 0, np.abs(y) + scale, 1))
        off = np.where((x == y) | (np.isnan(x) & np.isnan(y)), 0, off)
        worst = np.argmax(off) if off.size else 0
        assert (off <= ulps).all(), f"{off.flat[worst]:.4g} ulps apart: {x.flat[worst]!r} and {y.flat[worst]!r}"

    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    jax.tree.map(check, actual, desired)


def _as_data(x: Any) -> np.ndarray:
    is_key = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)
