"""One lifetime in each of several environments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import FinalReturn, MultiEnvLifetime
from lopt.types import Level
from tests.reference.bandit import Bandit

KEY = jax.random.key(0)
THETA = {"value": jnp.array([0.5, -1.0, 0.8])}
REWARDS = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 5.0]])


def one(i, lifetime):
    return Level(params={"reward": REWARDS[i]}, num_updates=jnp.int32(lifetime))


def expected_reward(key, level, state):
    return jax.nn.softmax(state.logits) @ level.params["reward"]


def test_each_lifetime_has_its_own_length_and_scale():
    lifetimes = tuple(
        FinalReturn(lifetime=Bandit(rate=rate), evaluate=expected_reward, scale=scale)
        for rate, scale in ((0.3, 1.0), (0.6, 5.0))
    )
    lifetime = MultiEnvLifetime(lifetimes, ("a", "b"))
    level = lifetime.level((one(0, 2), one(1, 4)))
    assert level.num_updates == 4
    state = lifetime.init(KEY, THETA, level)
    ages = []
    for i in range(5):
        state, info = lifetime.step(jax.random.fold_in(KEY, i), THETA, level, state)
        ages.append([int(learner.age) for learner in state])
        assert set(info.metrics) == {"a/size", "b/size"}
    assert ages == [[1, 1], [2, 2], [2, 3], [2, 4], [2, 4]]
    assert lifetime.age(state) == 4
    loss, after, metrics = lifetime.meta_loss(KEY, THETA, level, state)
    values = [float(expected_reward(KEY, level.params[i], state[i])) for i in range(2)]
    np.testing.assert_allclose(loss, -(values[0] + values[1] / 5) / 2, rtol=1e-6)
    np.testing.assert_allclose([metrics["a/final_return"], metrics["b/final_return"]], values, rtol=1e-6)
    assert after[0] is state[0]


def test_bad_input():
    with pytest.raises(ValueError, match="MultiEnvLifetime: expected at least one lifetime and a name for each"):
        MultiEnvLifetime((Bandit(),), ("a", "b"))
    with pytest.raises(ValueError, match="at least one lifetime"):
        MultiEnvLifetime((), ())
    with pytest.raises(ValueError, match=r"scale must be positive \(got 0.0\)"):
        FinalReturn(lifetime=Bandit(), evaluate=expected_reward, scale=0.0)
