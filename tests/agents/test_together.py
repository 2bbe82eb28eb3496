"""Lives side by side in several environments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import FinalReturn, Together
from lopt.types import Level
from tests.reference.bandit import Bandit

KEY = jax.random.key(0)
THETA = {"value": jnp.array([0.5, -1.0, 0.8])}
REWARDS = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 5.0]])


def one(i, lifetime):
    return Level(params={"reward": REWARDS[i]}, lifetime=jnp.int32(lifetime))


def earned(key, level, state):
    return jax.nn.softmax(state.logits) @ level.params["reward"]


def test_every_part_lives_to_its_own_end_and_counts_by_its_scale():
    parts = tuple(FinalReturn(Bandit(rate=rate), earned, scale) for rate, scale in ((0.3, 1.0), (0.6, 5.0)))
    whole = Together(parts, ("a", "b"))
    level = whole.level((one(0, 2), one(1, 4)))
    assert level.lifetime == 4
    state = whole.init(KEY, THETA, level)
    ages = []
    for i in range(5):
        state, told = whole.step(jax.random.fold_in(KEY, i), THETA, level, state)
        ages.append([int(part.age) for part in state])
        assert set(told) == {"a/size", "b/size"}
    assert ages == [[1, 1], [2, 2], [2, 3], [2, 4], [2, 4]]
    assert whole.age(state) == 4
    loss, after, told = whole.meta_loss(KEY, THETA, level, state)
    values = [float(earned(KEY, level.params[i], state[i])) for i in range(2)]
    np.testing.assert_allclose(loss, -(values[0] + values[1] / 5) / 2, rtol=1e-6)
    np.testing.assert_allclose([told["a/final_return"], told["b/final_return"]], values, rtol=1e-6)
    assert after[0] is state[0]


def test_bad_input():
    with pytest.raises(ValueError, match="at least one part and a name for each"):
        Together((Bandit(),), ("a", "b"))
    with pytest.raises(ValueError, match="at least one part"):
        Together((), ())
    with pytest.raises(ValueError, match=r"scale must be positive \(got 0.0\)"):
        FinalReturn(Bandit(), earned, 0.0)
