"""The laws that every environment satisfies, on one short rollout of each."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import ACTION_FROM_OBS, DISCOUNTING, BitsView, ChainSet, LogUniform, Ranges, Uniform
from envs.brax import Brax, brax_env
from envs.gridworld import (
    NINE_MOVES_COLLECT,
    All,
    GridSet,
    PlaneView,
    RandomPlacement,
    open_map,
)
from envs.gymnax import gymnax_env, gymnax_names
from lopt.protocols import ContinuousEnvironment, Environment
from lopt.types import PlaneObs, TabularObs, TimeStep
from tests.envs.falling import Falling
from tests.envs.keys import make_keys

SMALL = All(sizes=(3, 4), objects=(1, 3), num_walls=4, wall_range=4, max_steps=LogUniform(3, 9))
RANDOM = GridSet(
    rows=open_map(3, 4),
    objects=((1.0, 0.5, 0.5), (-1.0, 0.0, 1.0)),
    max_steps=LogUniform(3, 9),
    placement=RandomPlacement(),
    view=PlaneView(),
)
DISTRIBUTIONS = {
    "grid": SMALL,
    "grid, 18 actions": replace(SMALL, moves=NINE_MOVES_COLLECT),
    "grid, planes": replace(SMALL, view=PlaneView()),
    "grid, random": RANDOM,
    "chain": ChainSet(lengths=Uniform(2, 6), noisy=True),
    "chain, redrawn": ChainSet(lengths=Uniform(2, 6), redraw=True),
    "chain, bits": ChainSet(lengths=Uniform(2, 6), view=BitsView(3)),
    "probe, two steps": DISCOUNTING,
    "probe, two states": ACTION_FROM_OBS,
}
GYMNAX = {  # parameters that vary beside the time limit
    "Breakout-MinAtar": (),
    "CartPole-v1": (("gravity", 5.0, 15.0),),
    "Catch-bsuite": (),
    "DeepSea-bsuite": (("unscaled_move_cost", 0.01, 1.0),),
    "FrozenLake-misc": (),
    "MemoryChain-bsuite": (("memory_length", 2, 6),),
    "Pendulum-v1": (("max_torque", 1.0, 3.0),),
}
BRAX = [f"brax, {name}" for name in ("ant", "hopper", "reacher")]
SLOW = {f"gymnax, {name}" for name in gymnax_names() if name not in GYMNAX} | {*BRAX}
ADAPTERS = [f"gymnax, {name}" for name in gymnax_names()] + ["falling, like brax", *BRAX]
LEVELS = {case: SMALL for case in DISTRIBUTIONS if case in ("grid, 18 actions", "grid, planes")}
"""Cases that use the levels of another distribution, so that drawing them compiles once."""
T, N, B = 24, 3, 4


@functools.cache
def distribution(case):
    if case in DISTRIBUTIONS:
        return DISTRIBUTIONS[case]
    library, name = case.split(", ")
    if library == "gymnax":
        return Ranges(gymnax_env(name, max_steps=12), (("max_steps_in_episode", 4, 12), *GYMNAX.get(name, ())))
    if library == "brax":
        pytest.importorskip("brax")
    env = brax_env(name, max_steps=12) if library == "brax" else Brax(factory=Falling, max_steps=12)
    return Ranges(env, (("max_steps", 4, 12), ("gravity", 0.1, 1.0)))


@functools.cache
def draw(dist):
    return jax.jit(jax.vmap(dist))


def levels_of(case, seed):
    dist = LEVELS.get(case, distribution(case))
    return draw(dist)(make_keys(seed, N)).params


@dataclass(frozen=True)
class Rollout:
    """`roll(keys, state, actions, levels)` returns the next state and the time steps; `traces` counts compilations."""

    roll: Any
    start: Any
    traces: list


@functools.cache
def rollout(case):
    env, traces = distribution(case).environment, []
    step = jax.vmap(jax.vmap(env.step, (0, 0, 0, None)))

    @jax.jit
    def roll(keys, state, actions, levels):
        traces.append(case)
        return jax.lax.scan(lambda state, x: step(x[0], state, x[1], levels)[::-1], state, (keys, actions))

    return Rollout(roll=roll, start=jax.jit(jax.vmap(jax.vmap(env.reset, (0, None)))), traces=traces)


def inputs(case, seed):
    """`(keys [1 + T, N, B], actions [T, N, B] or [T, N, B, D], some of these out of bounds)`."""
    env, rng = distribution(case).environment, np.random.default_rng(seed)
    if isinstance(env, ContinuousEnvironment):
        actions = rng.uniform(-1.5, 1.5, size=(T, N, B, env.action_size)).astype(np.float32)
    else:
        actions = rng.integers(env.num_actions, size=(T, N, B), dtype=np.int32)
    return make_keys(seed, 1 + T, N, B), actions


@functools.cache
def two_rollouts(case):
    """Two consecutive rollouts of random actions: `(levels, first obs, steps [2T, N, B], last state)`."""
    run, levels, chunks = rollout(case), levels_of(case, 0), []
    obs, state = run.start(inputs(case, 0)[0][0], levels)
    for seed in (1, 2):
        keys, actions = inputs(case, seed)
        state, steps = run.roll(keys[1:], state, actions, levels)
        chunks.append(steps)
    return levels, obs, jax.tree.map(lambda *x: np.concatenate(x), *chunks), state


def episode_lengths(last):
    """Number of steps done in the current episode after each step, `[T, ...]`."""
    lengths = np.zeros(last.shape, int)
    for t in range(len(last)):
        lengths[t] = 1 + (np.where(last[t - 1], 0, lengths[t - 1]) if t else 0)
    return lengths


def ended(steps):
    return np.asarray(jax.tree.map(jnp.asarray, steps).last)


def parameters(cases):
    return [pytest.param(case, marks=pytest.mark.slow) if case in SLOW else case for case in cases]


cases = pytest.mark.parametrize("case", parameters([*DISTRIBUTIONS, *ADAPTERS]))
adapters = pytest.mark.parametrize("case", parameters(ADAPTERS))
# the bandit's episodes have one step on every level
varying = pytest.mark.parametrize(
    "case", parameters(case for case in [*DISTRIBUTIONS, *ADAPTERS] if "SimpleBandit" not in case)
)


@cases
def test_protocol(case):
    env = distribution(case).environment
    if isinstance(env, ContinuousEnvironment):
        assert not isinstance(env, Environment) and env.action_size >= 1
    else:
        assert isinstance(env, Environment) and env.num_actions >= 2
    hash(env)
    assert env == distribution(case).environment


@cases
def test_steps_are_canonical_and_compile_once(case):
    levels, obs, steps, state = two_rollouts(case)
    assert len(rollout(case).traces) == 1, "a rollout from a rollout's state compiled again"
    assert isinstance(steps, TimeStep)
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.tree.map(lambda x: x[0], steps.obs), obs)
    chex.assert_trees_all_equal_shapes_and_dtypes(steps.obs, steps.final_obs)
    dtypes = steps.reward.dtype, steps.discount.dtype, steps.truncated.dtype
    assert dtypes == (jnp.float32, jnp.float32, jnp.bool_)
    one, alone = jax.tree.map(lambda x: x[0], levels), jax.tree.map(lambda x: x[0, 0], state)
    action = jnp.asarray(inputs(case, 0)[1][0, 0, 0])
    shapes = jax.eval_shape(distribution(case).environment.step, jax.random.key(0), alone, action, one)
    arrays = [
        x for x in jax.tree.leaves((levels, obs, state, shapes)) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    ]
    assert not any(leaf.weak_type for leaf in arrays)


@cases
def test_values_are_in_range(case):
    _, obs, steps, _ = two_rollouts(case)
    chex.assert_tree_all_finite((obs, steps))
    assert set(np.unique(steps.discount)) <= {0.0, 1.0}
    assert np.abs(steps.reward).max() <= (100 if case in ADAPTERS else 3)
    for observed in (obs, steps.obs, steps.final_obs):
        if isinstance(observed, TabularObs):
            assert observed.index.min() >= 0 and observed.index.max() < distribution(case).environment.num_states
        elif not (case in ADAPTERS and observed.ndim < 6):
            planes = observed.planes if isinstance(observed, PlaneObs) else observed
            assert set(np.unique(planes)) <= {0.0, 1.0}


@cases
def test_episodes_terminate_or_are_truncated_and_reset(case):
    _, _, steps, _ = two_rollouts(case)
    terminated, last = steps.discount == 0, ended(steps)
    assert not (terminated & steps.truncated).any()
    assert last.any() and (last == (terminated | steps.truncated)).all()
    if not case.startswith("grid"):  # a grid world's limit is the level's alone
        assert episode_lengths(last).max() <= distribution(case).environment.max_steps
    if not isinstance(steps.obs, TabularObs | PlaneObs):
        return
    np.testing.assert_array_equal(steps.obs.time[last], 0)
    assert (steps.final_obs.time[last] > 0).all()
    np.testing.assert_allclose(steps.final_obs.time, 0.001 * episode_lengths(last), rtol=1e-5)


@cases
def test_final_obs_equals_obs_within_an_episode(case):
    _, _, steps, _ = two_rollouts(case)
    continues = ~ended(steps)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[continues], b[continues]), steps.obs, steps.final_obs)


@varying
def test_trajectories_depend_on_key_and_level_alone(case):
    run, (keys, actions) = rollout(case), inputs(case, 3)
    levels, other = levels_of(case, 0), levels_of(case, 1)
    if case.startswith("probe"):
        other = other.replace(scale=2 * other.scale)
    results = [run.roll(keys[1:], run.start(keys[0], level)[1], actions, level)[1] for level in (levels, levels, other)]
    chex.assert_trees_all_equal(*results[:2])
    same = jax.tree.map(lambda a, b: bool((a == b).all()), results[0], results[2])
    assert not all(jax.tree.leaves(same)), "the trajectory does not depend on the level"


@adapters
def test_observations_are_float32_of_obs_shape(case):
    env, (_, obs, steps, _) = distribution(case).environment, two_rollouts(case)
    assert len(env.obs_shape) in (1, 3)
    for observed, axes in ((obs, 2), (steps.obs, 3), (steps.final_obs, 3)):
        assert observed.dtype == np.float32 and observed.shape[axes:] == env.obs_shape


@adapters
def test_truncation_exactly_at_the_level_s_limit(case):
    levels, _, steps, state = two_rollouts(case)
    limit = levels.max_steps_in_episode if case.startswith("gymnax") else levels.max_steps
    limit, lengths = np.asarray(limit)[:, None], episode_lengths(ended(steps))
    assert limit.max() <= distribution(case).environment.max_steps
    assert (lengths <= limit).all()
    np.testing.assert_array_equal(steps.truncated, (lengths == limit) & (steps.discount == 1))
    np.testing.assert_array_equal(state.time, np.where(ended(steps)[-1], 0, lengths[-1]))
