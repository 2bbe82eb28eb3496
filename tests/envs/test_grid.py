"""The grid world's step against a reference in Python, and rule by rule."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.draws import uniforms
from envs.gridworld import (
    FOUR_MOVES,
    NINE_MOVES,
    NINE_MOVES_COLLECT,
    All,
    GridWorld,
    Moves,
    PlaneView,
    RandomPlacement,
    make_level,
    unpack,
)
from envs.int_distributions import LogUniform
from tests.envs.keys import make_keys
from tests.envs.reference_grid import OFFSETS_5, OFFSETS_9, ReferenceGrid

BUSY = {"sizes": (3, 5), "num_walls": 4, "wall_range": 5, "max_steps": LogUniform(5, 40), "p_respawn": (0.05, 1.0)}
CASES = {
    "5 actions": (All(**BUSY), {"offsets": OFFSETS_5}),
    "9 actions": (All(**BUSY, moves=NINE_MOVES), {"offsets": OFFSETS_9}),
    "18 actions": (All(**BUSY, moves=NINE_MOVES_COLLECT), {"offsets": OFFSETS_9, "collect": True}),
    "random": (
        All(**BUSY, placement=RandomPlacement(), view=PlaneView()),
        {"offsets": OFFSETS_5, "moving": True},
    ),
}
LEVELS, STEPS = 6, 150


@functools.cache
def drawn():
    """`(levels, keys [1 + T, N], uniform numbers [1 + T, N, 16])`: the same for every case."""
    levels = jax.jit(jax.vmap(All(**BUSY)))(make_keys(1, LEVELS)).params
    keys = make_keys(2, 1 + STEPS, LEVELS)
    spread = jax.jit(jax.vmap(jax.vmap(lambda key: jnp.stack(uniforms(key, 16)))))
    return levels, keys, np.asarray(spread(keys))


@functools.cache
def rollouts(case):
    """`(levels, actions, first observations, (time steps, states before, states after))`, all numpy."""
    env, (levels, keys, _) = CASES[case][0].environment, drawn()
    actions = np.random.default_rng(0).integers(env.num_actions, size=(STEPS, LEVELS), dtype=np.int32)

    @jax.jit
    def run(keys, actions, levels):
        first, state = jax.vmap(env.reset)(keys[0], levels)

        def body(state, x):
            timestep, new = jax.vmap(env.step)(x[0], state, x[1], levels)
            return new, (timestep, state, new)

        return first, jax.lax.scan(body, state, (keys[1:], actions))[1]

    return jax.tree.map(np.asarray, (levels, actions, *run(keys, actions, levels)))


def same(obs, expected):
    index, planes, time = expected
    np.testing.assert_allclose(obs.time, 0.001 * time, rtol=1e-6)
    if "planes" in vars(obs):
        np.testing.assert_array_equal(obs.planes, planes)
    else:
        assert obs.index == index


@pytest.mark.parametrize("case", CASES)
def test_equals_the_reference(case):
    levels, actions, first, (timestep, _, _) = rollouts(case)
    numbers = drawn()[2]
    env = CASES[case][0].environment
    collected = num_respawned = ended = 0
    for n in range(LEVELS):
        level = jax.tree.map(lambda x, n=n: x[n], levels)
        reference = ReferenceGrid(level, env.height, env.width, **CASES[case][1])
        reference.reset(numbers[0, n])
        same(jax.tree.map(lambda x, n=n: x[n], first), reference.observe())
        for t in range(STEPS):
            got = jax.tree.map(lambda x, t=t, n=n: x[t, n], timestep)
            obs, reward, terminated, truncated, final, hit, respawned = reference.step(actions[t, n], numbers[1 + t, n])
            same(got.obs, obs)
            same(got.final_obs, final)
            np.testing.assert_allclose(got.reward, reward, rtol=1e-6)
            assert (got.discount == 0, got.truncated) == (terminated, truncated)
            assert not hit & set(respawned), "an object respawned in the step that collected it"
            collected, ended = collected + len(hit), ended + terminated + truncated
            num_respawned += len(respawned)
    assert min(collected, num_respawned, ended) > 3, "too few events for a comparison"


@pytest.mark.parametrize("case", CASES)
def test_agent_and_objects_stay_on_free_cells(case):
    levels, _, _, (timestep, before, after) = rollouts(case)
    for state in (before, after):
        assert all(levels.free[n][state.cell[:, n]].all() for n in range(LEVELS))
    if case != "random":
        return
    exists = np.asarray(unpack(jnp.asarray(after.exists), after.places.shape[-1]))
    for n in range(LEVELS):
        for t in range(STEPS):
            places = after.places[t, n][exists[t, n]]
            assert levels.free[n][places].all() and len(set(places)) == len(places)
            if timestep.discount[t, n] == 0 or timestep.truncated[t, n]:
                assert after.cell[t, n] not in places, "an object was placed on the agent"


def empty_level(env, start=0, **objects):
    """A level without walls; by default one object with reward 0, in the last cell."""
    num, cells = env.num_objects, env.num_cells
    fields = {
        "object_cell": jnp.full(num, cells - 1, jnp.int32),
        "present": jnp.arange(num) < 1,
        "reward": jnp.zeros(num),
        "p_terminate": jnp.zeros(num),
        "p_respawn": jnp.zeros(num),
        "max_steps": jnp.int32(100),
    }
    return make_level(jnp.ones(cells, bool), jnp.int32(start), **(fields | objects))


@pytest.mark.parametrize("moves", [FOUR_MOVES, NINE_MOVES])
def test_moves_are_blocked_at_borders_and_do_not_slide(moves):
    env = GridWorld(height=3, width=4, num_objects=1, moves=moves)
    cells = jnp.arange(12, dtype=jnp.int32)
    actions = jnp.arange(env.num_actions, dtype=jnp.int32)
    move = jax.vmap(jax.vmap(env.move, (None, 0, None)), (0, None, None))
    landed = np.asarray(jax.jit(move)(cells, actions, empty_level(env))[0])
    for cell in range(12):
        for action, (down, right) in enumerate(moves.offsets):
            row, column = cell // 4 + down, cell % 4 + right
            inside = 0 <= row < 3 and 0 <= column < 4
            assert landed[cell, action] == (row * 4 + column if inside else cell)


def test_random_placement_uses_all_free_cells():
    env = GridWorld(height=3, width=3, num_objects=1, placement=RandomPlacement(), view=PlaneView())
    level = empty_level(env, start=8)
    reset = jax.jit(jax.vmap(env.reset, (0, None)))
    _, states = reset(make_keys(0, 200), level)
    counts = np.bincount(np.asarray(states.places)[:, 0], minlength=9)
    assert counts[8] == 0 and (counts[:8] > 5).all()


def test_termination_takes_precedence_over_truncation():
    env = GridWorld(height=1, width=2, num_objects=1)
    last = {"max_steps": jnp.int32(1), "reward": jnp.ones(1)}
    key, right, stay, step = jax.random.key(0), jnp.int32(3), jnp.int32(4), jax.jit(env.step)
    for p_terminate, action, discount, truncated in [
        (1.0, right, 0, False),
        (0.0, right, 1, True),
        (1.0, stay, 1, True),
    ]:
        level = empty_level(env, p_terminate=jnp.full(1, p_terminate), **last)
        timestep, state = step(key, env.reset(key, level)[1], action, level)
        assert (timestep.discount, timestep.truncated) == (discount, truncated)
        assert timestep.last and state.cell == 0 and state.time == 0 and state.exists == 1
        assert timestep.final_obs.index == (1 if action == right else 2)


def test_respawn_with_probability_one_takes_one_step():
    env = GridWorld(height=1, width=2, num_objects=1)
    level = empty_level(env, p_respawn=jnp.ones(1), reward=jnp.ones(1))
    _, state = env.reset(jax.random.key(0), level)
    rewards, step = [], jax.jit(env.step)
    for action in (3, 4, 4, 4):
        timestep, state = step(jax.random.key(action), state, jnp.int32(action), level)
        rewards.append(float(timestep.reward))
    assert rewards == [1, 0, 1, 0], "collected, respawned, collected by staying, respawned"


def test_errors():
    with pytest.raises(ValueError, match="height and width"):
        GridWorld(height=0, width=3, num_objects=1)
    with pytest.raises(ValueError, match="num_objects"):
        GridWorld(height=3, width=3, num_objects=0)
    with pytest.raises(ValueError, match="int32"):
        GridWorld(height=13, width=13, num_objects=28)
    with pytest.raises(ValueError, match="distinct"):
        Moves(((0, 1), (0, 1)))
    with pytest.raises(ValueError, match="offsets"):
        Moves(((0, 2),))
