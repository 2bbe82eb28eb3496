"""Delayed chains: the reward depends on the first action alone, and observations contain what they should."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import (
    CHAIN_SETS,
    BitsView,
    Chain,
    ChainLevel,
    ChainSet,
    ChainState,
    Fixed,
    IndexView,
    Uniform,
    distractor_chain,
    long_chain,
    long_noisy_chain,
    short_chain,
    short_noisy_chain,
)
from tests.envs.keys import make_keys

LENGTH, EPISODES = 5, 400


@functools.cache
def episodes(env):
    """`(actions, good actions, first observations, steps [E, T])` of whole episodes with random actions."""
    level = ChainLevel(length=jnp.int32(LENGTH), good_action=jnp.int32(1))

    actions = np.random.default_rng(0).integers(2, size=(LENGTH, EPISODES), dtype=np.int32)
    step = jax.vmap(env.step, (0, 0, 0, None))

    @jax.jit
    def run(keys, actions):
        first, state = jax.vmap(env.reset, (0, None))(keys[0], level)
        _, steps = jax.lax.scan(lambda s, x: step(x[0], s, x[1], level)[::-1], state, (keys[1:], actions))
        return actions, state.good, first, steps

    return jax.tree.map(np.asarray, run(make_keys(0, 1 + LENGTH, EPISODES), actions))


def test_the_first_action_alone_determines_the_reward():
    actions, good, _, steps = episodes(Chain())
    np.testing.assert_array_equal(good, 1)
    np.testing.assert_array_equal(steps.reward[-1], np.where(actions[0] == 1, 1, -1))
    np.testing.assert_array_equal(steps.reward[:-1], 0)
    np.testing.assert_array_equal(steps.discount, (np.arange(LENGTH) < LENGTH - 1)[:, None] * np.ones(EPISODES))
    assert not steps.truncated.any()
    positions = np.arange(1, LENGTH + 1)[:, None]
    np.testing.assert_array_equal(steps.final_obs.index, 2 * positions + actions[0])
    np.testing.assert_array_equal(steps.obs.index[-1], 0)


def test_redrawn_good_action_is_shown():
    env = Chain(redraw=True, noisy=True)
    actions, good, first, steps = episodes(env)
    assert abs(good.mean() - 0.5) < 0.15
    np.testing.assert_array_equal(first.index, 2 * (env.max_length + 1) * good)
    np.testing.assert_array_equal(steps.final_obs.index // (2 * (env.max_length + 1)), np.tile(good, (LENGTH, 1)))
    np.testing.assert_array_equal(steps.reward[-1], np.where(actions[0] == good, 1, -1))
    next_good = steps.obs.index[-1] // (2 * (env.max_length + 1))
    assert 0.3 < (next_good != good).mean() < 0.7, "redrawn at the reset"
    np.testing.assert_array_equal(steps.reward[0], 0)
    assert set(np.unique(steps.reward[1:-1])) == {-1, 1} and abs(steps.reward[1:-1].mean()) < 0.15


def test_bits_view():
    env = Chain(redraw=True, view=BitsView(20))
    actions, good, first, steps = episodes(env)
    assert first.shape == (EPISODES, 22) and first.dtype == np.float32
    np.testing.assert_array_equal(first[:, 0], good)
    np.testing.assert_array_equal(first[:, 1], 0)
    np.testing.assert_array_equal(steps.final_obs[..., 1], np.tile(actions[0] == good, (LENGTH, 1)))
    noise = steps.final_obs[..., 2:]
    assert abs(noise.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05, "new at every step"
    np.testing.assert_array_equal(steps.obs[:-1], steps.final_obs[:-1])


def test_paper_values():
    expected = {
        short_chain: (30, False, IndexView()),
        short_noisy_chain: (30, True, IndexView()),
        long_chain: (50, False, IndexView()),
        long_noisy_chain: (50, True, IndexView()),
        distractor_chain: (30, False, BitsView(20)),
    }
    assert set(CHAIN_SETS) == set(expected)
    for make, (high, noisy, view) in expected.items():
        dist = make()
        assert dist.lengths == Uniform(5, high) and dist.num_updates == Fixed(2500)
        assert dist.environment == Chain(max_length=high, noisy=noisy, redraw=False, view=view)
        assert make(redraw=True).environment.num_states == 4 * (high + 1) == 2 * dist.environment.num_states
    levels = jax.jit(jax.vmap(long_chain()))(make_keys(0, 2000))
    assert set(np.asarray(levels.params.length).tolist()) == set(range(5, 51))
    assert abs(levels.params.good_action.mean() - 0.5) < 0.06


def test_errors():
    with pytest.raises(ValueError, match="max_length"):
        Chain(max_length=1)
    with pytest.raises(ValueError, match="at least 2"):
        ChainSet(lengths=Uniform(1, 5))
    with pytest.raises(ValueError, match="distractors"):
        BitsView(-1)
    assert ChainState(*3 * (jnp.int32(0),)).position == 0
