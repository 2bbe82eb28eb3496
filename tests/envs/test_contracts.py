"""The laws every environment obeys, on one short rollout of each."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import ACTION_FROM_OBS, DISCOUNTING, BitsView, ChainSet, LogUniform, Uniform
from envs.gridworld import (
    NINE_MOVES_COLLECT,
    All,
    GridSet,
    PlaneView,
    RandomPlacement,
    open_map,
)
from lopt.protocols import Environment
from lopt.types import PlaneObs, TabularObs, TimeStep
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
LEVELS = {case: SMALL for case in DISTRIBUTIONS if case in ("grid, 18 actions", "grid, planes")}
"""Cases whose levels are those of another distribution, so that drawing them compiles once."""
T, N, B = 24, 3, 4


@functools.cache
def draw(dist):
    return jax.jit(jax.vmap(dist))


def levels_of(case, seed):
    dist = LEVELS.get(case, DISTRIBUTIONS[case])
    return draw(dist)(make_keys(seed, N)).params


@dataclass(frozen=True)
class Rollout:
    """`roll(keys, state, actions, levels)` gives the next state and what happened; `traces` grows when traced."""

    roll: Any
    start: Any
    traces: list


@functools.cache
def rollout(case):
    world, traces = DISTRIBUTIONS[case].environment, []
    step = jax.vmap(jax.vmap(world.step, (0, 0, 0, None)))

    @jax.jit
    def roll(keys, state, actions, levels):
        traces.append(case)
        return jax.lax.scan(lambda state, x: step(x[0], state, x[1], levels)[::-1], state, (keys, actions))

    return Rollout(roll=roll, start=jax.jit(jax.vmap(jax.vmap(world.reset, (0, None)))), traces=traces)


def inputs(case, seed):
    """`(keys [1 + T, N, B], actions [T, N, B])`."""
    num_actions = DISTRIBUTIONS[case].environment.num_actions
    actions = np.random.default_rng(seed).integers(num_actions, size=(T, N, B), dtype=np.int32)
    return make_keys(seed, 1 + T, N, B), actions


@functools.cache
def played(case):
    """Two rollouts, one after the other, of random actions: `(levels, first obs, steps [2T, N, B], last state)`."""
    run, levels, chunks = rollout(case), levels_of(case, 0), []
    obs, state = run.start(inputs(case, 0)[0][0], levels)
    for seed in (1, 2):
        keys, actions = inputs(case, seed)
        state, steps = run.roll(keys[1:], state, actions, levels)
        chunks.append(steps)
    return levels, obs, jax.tree.map(lambda *x: np.concatenate(x), *chunks), state


def ended(steps):
    return np.asarray(jax.tree.map(jnp.asarray, steps).last)


cases = pytest.mark.parametrize("case", DISTRIBUTIONS)


@cases
def test_protocol(case):
    world = DISTRIBUTIONS[case].environment
    assert isinstance(world, Environment) and world.num_actions >= 2
    hash(world)
    assert world == DISTRIBUTIONS[case].environment


@cases
def test_steps_are_canonical_and_compile_once(case):
    levels, obs, steps, state = played(case)
    assert len(rollout(case).traces) == 1, "a rollout from a rollout's state compiled again"
    assert isinstance(steps, TimeStep)
    chex.assert_trees_all_equal_shapes_and_dtypes(jax.tree.map(lambda x: x[0], steps.obs), obs)
    chex.assert_trees_all_equal_shapes_and_dtypes(steps.obs, steps.final_obs)
    dtypes = steps.reward.dtype, steps.discount.dtype, steps.truncated.dtype
    assert dtypes == (jnp.float32, jnp.float32, jnp.bool_)
    one, alone = jax.tree.map(lambda x: x[0], levels), jax.tree.map(lambda x: x[0, 0], state)
    shapes = jax.eval_shape(DISTRIBUTIONS[case].environment.step, jax.random.key(0), alone, jnp.int32(0), one)
    assert not any(leaf.weak_type for leaf in jax.tree.leaves((levels, obs, state, shapes)))


@cases
def test_values_are_in_range(case):
    _, obs, steps, _ = played(case)
    chex.assert_tree_all_finite((obs, steps))
    assert set(np.unique(steps.discount)) <= {0.0, 1.0}
    assert np.abs(steps.reward).max() <= 3
    for seen in (obs, steps.obs, steps.final_obs):
        if isinstance(seen, TabularObs):
            assert seen.index.min() >= 0 and seen.index.max() < DISTRIBUTIONS[case].environment.num_states
        else:
            planes = seen.planes if isinstance(seen, PlaneObs) else seen
            assert set(np.unique(planes)) <= {0.0, 1.0}


@cases
def test_episodes_end_in_one_way_and_start_over(case):
    _, _, steps, _ = played(case)
    terminated, last = steps.discount == 0, ended(steps)
    assert not (terminated & steps.truncated).any()
    assert last.any() and (last == (terminated | steps.truncated)).all()
    if not isinstance(steps.obs, TabularObs | PlaneObs):
        return
    np.testing.assert_array_equal(steps.obs.time[last], 0)
    assert (steps.final_obs.time[last] > 0).all()
    before = np.concatenate([np.zeros_like(last[:1]), last[:-1]])  # time counts from the reset
    expected = np.zeros(last.shape)
    for t in range(len(last)):
        expected[t] = np.where(before[t], 0, expected[t - 1] if t else 0) + 1
    np.testing.assert_allclose(steps.final_obs.time, 0.001 * expected, rtol=1e-5)


@cases
def test_final_obs_is_obs_where_nothing_ended(case):
    _, _, steps, _ = played(case)
    goes_on = ~ended(steps)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[goes_on], b[goes_on]), steps.obs, steps.final_obs)


@cases
def test_same_key_same_trajectory_and_levels_matter(case):
    run, (keys, actions) = rollout(case), inputs(case, 3)
    levels, other = levels_of(case, 0), levels_of(case, 1)
    if case.startswith("probe"):
        other = other.replace(scale=2 * other.scale)
    results = [run.roll(keys[1:], run.start(keys[0], level)[1], actions, level)[1] for level in (levels, levels, other)]
    chex.assert_trees_all_equal(*results[:2])
    same = jax.tree.map(lambda a, b: bool((a == b).all()), results[0], results[2])
    assert not all(jax.tree.leaves(same)), "another level, the same trajectory"
