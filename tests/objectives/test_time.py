"""What rules are told of time."""

import jax.numpy as jnp
import numpy as np
import pytest

from lopt.objectives import Fraction, FractionAndLogLifetime, HeldTime, NoTime, RawTime, RemainingFraction
from lopt.types import Progress


def at(step, lifetime):
    return Progress(step=jnp.int32(step), lifetime=jnp.int32(lifetime))


@pytest.mark.parametrize(
    ("conditioning", "expected"),
    [
        (NoTime(), []),
        (FractionAndLogLifetime(), [0.3, np.log(100 / 250)]),
        (FractionAndLogLifetime(reference=100.0), [0.3, 0]),
        (Fraction(), [0.3]),
        (RemainingFraction(), [0.7]),
        (RawTime(), [30, 100]),
        (HeldTime(FractionAndLogLifetime(), 0.8), [0.8, np.log(100 / 250)]),
        (HeldTime(RemainingFraction(), 0.0), [1.0]),
    ],
)
def test_features(conditioning, expected):
    features = conditioning(at(30, 100))
    assert features.shape == (conditioning.features,)
    assert features.dtype == jnp.float32
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


def test_features_are_finite_for_a_life_of_no_length():
    for conditioning in (FractionAndLogLifetime(), Fraction(), RemainingFraction()):
        assert np.isfinite(conditioning(at(0, 0))).all()


def test_a_clock_that_stands_still_shows_a_time_of_life():
    with pytest.raises(ValueError, match=r"fraction must be in \[0, 1\]"):
        HeldTime(Fraction(), 1.5)
