"""Time features of learned rules."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grid.compat import RawTime
from lopt.objectives import Fraction, FractionAndLogNumUpdates, FrozenProgress, NoTime, RemainingFraction
from lopt.types import Progress


def progress(step, lifetime):
    return Progress(step=jnp.int32(step), num_updates=jnp.int32(lifetime))


@pytest.mark.parametrize(
    ("conditioning", "expected"),
    [
        (NoTime(), []),
        (FractionAndLogNumUpdates(), [0.3, np.log(100 / 250)]),
        (FractionAndLogNumUpdates(reference=100.0), [0.3, 0]),
        (Fraction(), [0.3]),
        (RemainingFraction(), [0.7]),
        (RawTime(), [30, 100]),
        (FrozenProgress(FractionAndLogNumUpdates(), 0.8), [0.8, np.log(100 / 250)]),
        (FrozenProgress(RemainingFraction(), 0.0), [1.0]),
    ],
)
def test_features(conditioning, expected):
    features = conditioning(progress(30, 100))
    assert features.shape == (conditioning.features,)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_features_are_finite_for_a_lifetime_of_zero_updates():
    for conditioning in (FractionAndLogNumUpdates(), Fraction(), RemainingFraction()):
        assert np.isfinite(conditioning(progress(0, 0))).all()


def test_the_frozen_fraction_must_be_in_the_unit_interval():
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
        FrozenProgress(Fraction(), 1.5)
