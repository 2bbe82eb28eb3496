"""Scores of lifetimes with known metrics and values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from lopt.curriculum import AlgorithmicRegret, L1ValueLoss, MaxMC, OracleRegret, PositiveValueLoss, Uniform
from lopt.types import Level, UpdateInfo, ValueScores

KEY = jax.random.key(0)
K = 5


class Learner(struct.PyTreeNode):
    """Learner state: value, age, and the sum of the noise drawn from its keys."""

    value: jax.Array
    age: jax.Array
    noise: jax.Array


class FakeLifetime:
    """Lifetime whose learner's value is `level.params["initial"]` plus `theta` for every update."""

    def init(self, key, theta, level):
        return Learner(level.params["initial"], jnp.int32(0), jax.random.normal(key, (1,)))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        noise = state.noise + jnp.where(active, jax.random.normal(key, (1,)), 0)
        value = state.value + jnp.where(active, theta, 0)
        return Learner(value, state.age + active.astype(jnp.int32), noise), UpdateInfo({})

    def meta_loss(self, key, theta, level, state):
        return -state.value, state, {}

    def age(self, state):
        return state.age


def level(num_updates=10, initial=-100.0):
    return Level(params={"initial": jnp.float32(initial)}, num_updates=jnp.int32(num_updates))


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


def state_after(score, level, windows):
    """The score's state after the windows of updates, each of K updates."""
    state = score.init(KEY, level)
    for i, window in enumerate(windows):
        state = score.advance(jax.random.fold_in(KEY, i), level, state, window)
    return state


def score_of(score, level, windows, value=0.0):
    """The score of a learner of that value after the windows of updates."""
    return float(score.score(KEY, level, learner(value), state_after(score, level, windows)))


@pytest.mark.parametrize(
    ("score", "name"), [(PositiveValueLoss(), "positive_advantage"), (L1ValueLoss(), "absolute_advantage")]
)
def test_value_losses_are_the_mean_of_the_last_window(score, name):
    windows = [updates(**{name: v}) for v in ([9.0] * 5, [1.0, 2, 3, 4, 5])]
    assert score_of(score, level(), windows) == pytest.approx(3)
    assert score_of(score, level(), windows[:1]) == pytest.approx(9)
    assert score_of(score, level(), []) == -np.inf
    # a lifetime of 7 or 5 updates ends in the second window, or before it
    assert score_of(score, level(7), windows) == pytest.approx(1.5)
    assert score_of(score, level(5), windows) == pytest.approx(9)


def updates(**values):
    """What K updates report: the given values, and zero elsewhere."""
    fields = ("reward", "best_return", "value", "positive_advantage", "absolute_advantage")
    return ValueScores(*(jnp.array(values.get(name, [0.0] * K), jnp.float32) for name in fields))


def max_mc(returns, values):
    return updates(best_return=returns, value=values)


def test_max_mc_is_the_highest_return_of_the_lifetime_minus_the_last_values():
    none = [-np.inf] * 5
    windows = [max_mc([3.0, 7, -np.inf, 2, 1], [50.0] * 5), max_mc([1.0] * 5, [1.0, 2, 3, 4, 5])]
    assert score_of(MaxMC(), level(), windows) == pytest.approx(7 - 3)
    assert score_of(MaxMC(), level(), [max_mc(none, [4.0] * 5)]) == -np.inf
    assert score_of(MaxMC(), level(), []) == -np.inf
    # updates after the end of the lifetime count neither for the maximum nor for the mean
    beyond_end = [max_mc([0.0] * 5, [0.0] * 5), max_mc([1.0, 2, 9, 9, 9], [4.0, 6, 99, 99, 99])]
    assert score_of(MaxMC(), level(7), beyond_end) == pytest.approx(2 - 5)


def test_max_mc_of_negative_returns():
    """A running maximum that starts at 0 gives 4 and 4."""
    bad, worse = ([max_mc([r] * 5, [-4.0] * 5)] for r in (-1.0, -3.0))
    assert score_of(MaxMC(), level(), bad) == pytest.approx(3)
    assert score_of(MaxMC(), level(), worse) == pytest.approx(1)
    assert score_of(MaxMC(), level(), [max_mc([-9.0] * 5, [-4.0] * 5)]) == pytest.approx(-5)


def test_uniform():
    assert score_of(Uniform(), level(), [{}]) == 0.0


def test_the_antagonist_is_trained_in_lock_step_with_the_learner():
    score, windows = regret(), [{"loss": jnp.zeros(K)}] * 2
    state = state_after(score, level(10), windows)
    assert int(state.learner.age) == 10
    assert float(state.learner.value) == -100 + 2 * 10
    assert score_of(score, level(10), windows, value=-90.0) == -80 - -90
    assert score_of(score, level(10), windows, value=-70.0) == -10
    # it stops at the end of its lifetime, in the middle of a window
    assert int(state_after(score, level(7), windows).learner.age) == 7


def test_the_antagonist_is_trained_once_and_evaluated_once():
    """The published code trains an antagonist from scratch for every lifetime at every meta-step."""
    initialisations, evaluations = [], []

    class Counted(FakeLifetime):
        def init(self, key, theta, level):
            initialisations.append(1)
            return super().init(key, theta, level)

    def counted(key, level, state):
        evaluations.append(1)
        return state.value

    score = regret(antagonist=Counted(), evaluate=counted, evaluate_antagonist=counted)
    state = state_after(score, level(20), [{}] * 4)
    assert (len(initialisations), len(evaluations)) == (1, 0)
    score.score(KEY, level(20), learner(0), state)
    assert (len(initialisations), len(evaluations)) == (1, 2)


def test_keys_are_split():
    score = regret(evaluate=noisy_value, evaluate_antagonist=noisy_value)
    state = state_after(score, level(), [{}])
    # with one key for both evaluations the noise would cancel
    assert abs(float(score.score(KEY, level(), state.learner, state))) > 1e-3
    one, two = (score.advance(jax.random.key(i), level(), state, {}).learner.noise for i in (1, 2))
    assert float(jnp.abs(one - two)[0]) > 1e-3
    steps = jax.vmap(lambda k: jax.random.normal(k, (1,)))(jax.random.split(jax.random.key(1), K))
    np.testing.assert_allclose(one - state.learner.noise, steps.sum(0), rtol=1e-5)
    oracle = OracleRegret(oracle=lambda key, level: jax.random.normal(key), evaluate=noisy_value)
    assert abs(float(oracle.score(KEY, level(), learner(0), ()))) > 1e-3


def test_oracle_regret():
    score = OracleRegret(oracle=lambda key, level: level.params["initial"] / 2, evaluate=value_of)
    assert score_of(score, level(), [{}], value=-60.0) == 10
    assert score_of(score, level(), [{}], value=-20.0) == -30


def test_regret_checks_the_number_of_updates():
    with pytest.raises(ValueError, match="num_updates must be positive .got 0, expected >= 1"):
        regret(num_updates=0)
    with pytest.raises(ValueError, match=r"as many updates as the learner .got num_updates 5.*\(3,\)"):
        state_after(regret(), level(), [{"loss": jnp.zeros(3)}])


def test_two_regrets_with_different_antagonists_are_different_configurations():
    one, two = regret(), regret(antagonist_theta=jnp.ones(3))
    assert one != two
    assert len({one, two}) == 2
