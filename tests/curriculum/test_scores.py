"""Scores on lives whose numbers are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt.curriculum import AlgorithmicRegret, L1ValueLoss, MaxMC, OracleRegret, PositiveValueLoss, Uniform
from lopt.types import Level

KEY = jax.random.key(0)
K = 5


class Learner(struct.PyTreeNode):
    """What it is worth, its age, and a trace of the keys it was given."""

    value: jax.Array
    age: jax.Array
    noise: jax.Array


class FakeLifetime:
    """Starts at `level.params["start"]` and gains `theta` with every update."""

    def init(self, key, theta, level):
        return Learner(level.params["start"], jnp.int32(0), jax.random.normal(key, (1,)))

    def step(self, key, theta, level, state):
        live = state.age < level.lifetime
        noise = state.noise + jnp.where(live, jax.random.normal(key, (1,)), 0)
        value = state.value + jnp.where(live, theta, 0)
        return Learner(value, state.age + live.astype(jnp.int32), noise), {}

    def meta_loss(self, key, theta, level, state):
        return -state.value, state, {}

    def age(self, state):
        return state.age


def level(lifetime=10, start=-100.0):
    return Level(params={"start": jnp.float32(start)}, lifetime=jnp.int32(lifetime))


def learner(value):
    return Learner(jnp.float32(value), jnp.int32(10), jnp.zeros(1))


def value_of(key, level, state):
    return state.value


def noisy_value(key, level, state):
    return state.value + jax.random.normal(key)


def regret(**changes):
    defaults = {
        "antagonist": FakeLifetime(),
        "antagonist_theta": 2.0,
        "num_updates": K,
        "evaluate": value_of,
        "evaluate_antagonist": value_of,
    }
    return AlgorithmicRegret(**defaults | changes)


def live(score, level, windows):
    """The state after the windows of metrics, each of K updates."""
    state = score.init(KEY, level)
    for i, metrics in enumerate(windows):
        state = score.advance(jax.random.fold_in(KEY, i), level, state, metrics)
    return state


def read(score, level, windows, worth=0.0):
    return float(score.score(KEY, level, learner(worth), live(score, level, windows)))


@pytest.mark.parametrize(
    ("score", "name"), [(PositiveValueLoss(), "positive_value_loss"), (L1ValueLoss(), "l1_value_loss")]
)
def test_value_losses_are_the_mean_of_the_last_window(score, name):
    windows = [{name: jnp.array(v, jnp.float32)} for v in ([9.0] * 5, [1.0, 2, 3, 4, 5])]
    assert read(score, level(), windows) == pytest.approx(3)
    assert read(score, level(), windows[:1]) == pytest.approx(9)
    assert read(score, level(), []) == -np.inf
    # a life of 7 or 5 updates ends in the second window, or before it
    assert read(score, level(7), windows) == pytest.approx(1.5)
    assert read(score, level(5), windows) == pytest.approx(9)


def max_mc(returns, values):
    return {"best_return": jnp.array(returns, jnp.float32), "value_mean": jnp.array(values, jnp.float32)}


def test_max_mc_is_the_best_return_of_the_life_less_the_last_values():
    none = [-np.inf] * 5
    windows = [max_mc([3.0, 7, -np.inf, 2, 1], [50.0] * 5), max_mc([1.0] * 5, [1.0, 2, 3, 4, 5])]
    assert read(MaxMC(), level(), windows) == pytest.approx(7 - 3)
    assert read(MaxMC(), level(), [max_mc(none, [4.0] * 5)]) == -np.inf
    assert read(MaxMC(), level(), []) == -np.inf
    # updates past the end of the life count neither for the maximum nor for the mean
    late = [max_mc([0.0] * 5, [0.0] * 5), max_mc([1.0, 2, 9, 9, 9], [4.0, 6, 99, 99, 99])]
    assert read(MaxMC(), level(7), late) == pytest.approx(2 - 5)


def test_max_mc_has_no_floor():
    """Defect U4: a running maximum from 0 gives 4 and 4."""
    bad, worse = ([max_mc([r] * 5, [-4.0] * 5)] for r in (-1.0, -3.0))
    assert read(MaxMC(), level(), bad) == pytest.approx(3)
    assert read(MaxMC(), level(), worse) == pytest.approx(1)
    assert read(MaxMC(), level(), [max_mc([-9.0] * 5, [-4.0] * 5)]) == pytest.approx(-5)


def test_uniform():
    assert read(Uniform(), level(), [{}]) == 0.0


def test_the_antagonist_lives_beside_the_learner():
    score, windows = regret(), [{"loss": jnp.zeros(K)}] * 2
    state = live(score, level(10), windows)
    assert int(state.learner.age) == 10
    assert float(state.learner.value) == -100 + 2 * 10
    assert read(score, level(10), windows, worth=-90.0) == -80 - -90
    assert read(score, level(10), windows, worth=-70.0) == -10
    # it stops at the end of its life, in the middle of a window
    assert int(live(score, level(7), windows).learner.age) == 7


def test_the_antagonist_is_trained_once_and_evaluated_once():
    """Defect G8: an antagonist from scratch for every lifetime at every meta-step."""
    births, evaluations = [], []

    class Counted(FakeLifetime):
        def init(self, key, theta, level):
            births.append(1)
            return super().init(key, theta, level)

    def counted(key, level, state):
        evaluations.append(1)
        return state.value

    score = regret(antagonist=Counted(), evaluate=counted, evaluate_antagonist=counted)
    state = live(score, level(20), [{}] * 4)
    assert (len(births), len(evaluations)) == (1, 0)
    score.score(KEY, level(20), learner(0), state)
    assert (len(births), len(evaluations)) == (1, 2)


def test_keys_are_split():
    score = regret(evaluate=noisy_value, evaluate_antagonist=noisy_value)
    state = live(score, level(), [{}])
    # with one key for both evaluations the noise would cancel
    assert abs(float(score.score(KEY, level(), state.learner, state))) > 1e-3
    one, two = (score.advance(jax.random.key(i), level(), state, {}).learner.noise for i in (1, 2))
    assert float(jnp.abs(one - two)[0]) > 1e-3
    steps = jax.vmap(lambda k: jax.random.normal(k, (1,)))(jax.random.split(jax.random.key(1), K))
    np.testing.assert_allclose(one - state.learner.noise, steps.sum(0), rtol=1e-5)
    oracle = OracleRegret(oracle=lambda key, level: jax.random.normal(key), evaluate=noisy_value)
    assert abs(float(oracle.score(KEY, level(), learner(0), ()))) > 1e-3


def test_oracle_regret():
    score = OracleRegret(oracle=lambda key, level: level.params["start"] / 2, evaluate=value_of)
    assert read(score, level(), [{}], worth=-60.0) == 10
    assert read(score, level(), [{}], worth=-20.0) == -30


def test_regret_checks_the_number_of_updates():
    with pytest.raises(ValueError, match="num_updates must be positive .got 0, expected >= 1"):
        regret(num_updates=0)
    with pytest.raises(ValueError, match=r"as many updates as the learner .got num_updates 5.*\(3,\)"):
        live(regret(), level(), [{"loss": jnp.zeros(3)}])


def test_two_regrets_with_different_antagonists_are_different_configurations():
    one, two = regret(), regret(antagonist_theta=jnp.ones(3))
    assert one != two
    assert len({one, two}) == 2
