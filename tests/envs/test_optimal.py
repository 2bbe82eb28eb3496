"""Exact returns against enumeration in Python, against Monte Carlo, and against each other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld import (
    NINE_MOVES_COLLECT,
    All,
    RandomPlacement,
    optimal_return,
    optimal_values,
    policy_return,
    random_return,
)
from envs.int_distributions import Fixed
from tests.envs.keys import make_keys
from tests.envs.reference_grid import OFFSETS_5, OFFSETS_9

TINY = {"sizes": (2, 3), "objects": (2, 2), "num_walls": 2, "wall_range": 3, "max_steps": Fixed(4)}
CASES = {
    "5 actions": (All(**TINY, p_terminate=(0.1, 0.9), p_respawn=(0.2, 0.9)), OFFSETS_5, False),
    "18 actions": (All(**TINY, p_respawn=(0.2, 0.9), moves=NINE_MOVES_COLLECT), OFFSETS_9, True),
}
NUM = 8


@functools.cache
def exact(case):
    """`(levels, optimal returns, random returns)`."""
    dist = CASES[case][0]
    levels = jax.jit(jax.vmap(dist))(make_keys(5, NUM)).params
    both = jax.jit(jax.vmap(lambda x: (optimal_return(dist.environment, x), random_return(dist.environment, x))))
    return jax.tree.map(np.asarray, (levels, *both(levels)))


def enumerate_return(level, side, offsets, collect, choose):
    """The return of an episode by recursion over every outcome, written from the rules alone."""

    @functools.cache
    def value(row, column, existing, time):
        if time == level.max_steps:
            return 0.0
        return choose([action_value(row, column, existing, time, a) for a in range(len(offsets) * (1 + collect))])

    def action_value(row, column, existing, time, action):
        reaching = collect and action >= len(offsets)
        down, right = offsets[action % len(offsets)]
        to = (row + down, column + right)
        inside = 0 <= to[0] < side and 0 <= to[1] < side and level.free[to[0] * side + to[1]]
        agent = to if inside and not reaching else (row, column)
        collect_cell = (to if reaching and inside else None) if collect else agent
        hit = [i for i in existing if divmod(level.object_cell[i], side) == collect_cell]
        collected = [i for i in np.flatnonzero(level.present) if i not in existing]
        reward = sum(level.reward[i] for i in hit)
        future = 0.0
        for outcome in itertools.product([False, True], repeat=len(collected)):
            probabilities = [
                level.p_respawn[i] if respawns else 1 - level.p_respawn[i]
                for i, respawns in zip(collected, outcome, strict=True)
            ]
            respawned = [i for i, respawns in zip(collected, outcome, strict=True) if respawns]
            remaining = tuple(sorted({*existing, *respawned} - {*hit}))
            future += np.prod(probabilities) * value(*agent, remaining, time + 1)
        return reward + (1 - min(1.0, sum(level.p_terminate[i] for i in hit))) * future

    start = tuple(np.flatnonzero(level.present).tolist())
    return value(*divmod(int(level.start), side), start, 0)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["optimal", "random"])
def test_equals_enumeration(case, kind):
    dist, offsets, collect = CASES[case]
    levels, best, average = exact(case)
    choose = max if kind == "optimal" else lambda values: sum(values) / len(values)
    for n in range(NUM):
        level = jax.tree.map(lambda x, n=n: x[n], levels)
        expected = enumerate_return(level, dist.environment.width, offsets, collect, choose)
        np.testing.assert_allclose((best if kind == "optimal" else average)[n], expected, rtol=1e-4, atol=1e-5)
    assert np.abs(average).max() > 0.01


@pytest.mark.parametrize("case", CASES)
def test_random_is_at_most_optimal(case):
    _, best, average = exact(case)
    assert (average <= best + 1e-6).all() and (best >= 0).all(), "staying always has return 0"
    assert (best > average + 0.01).any()


def test_monte_carlo():
    """The mean of many episodes of a tabular policy, on levels with unequal time limits."""
    dist, episodes, steps = CASES["5 actions"][0], 3000, 16
    env = dist.environment
    levels = jax.tree.map(jnp.asarray, exact("5 actions")[0].replace(max_steps=2 + 2 * np.arange(NUM, dtype=np.int32)))
    policy = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(5), env.num_states), jnp.float32)

    @jax.jit
    def run(keys, choices):
        obs, state = jax.vmap(jax.vmap(env.reset, (0, None)))(keys[0], levels)
        step = jax.vmap(jax.vmap(env.step, (0, 0, 0, None)))

        def body(carry, x):
            obs, state, total, running = carry
            action = jnp.sum(jnp.cumsum(policy[obs.index], -1)[..., :-1] < x[1][..., None], -1)
            timestep, state = step(x[0], state, action, levels)
            return (timestep.obs, state, total + running * timestep.reward, running & ~timestep.last), None

        first = (obs, state, jnp.zeros(obs.index.shape), jnp.ones(obs.index.shape, bool))
        returns = jax.lax.scan(body, first, (keys, choices))[0][2]
        return returns, jax.vmap(lambda level: policy_return(env, level, policy))(levels)

    keys = make_keys(2, steps, NUM, episodes)
    choices = jnp.asarray(np.random.default_rng(1).random((steps, NUM, episodes)), jnp.float32)
    returns, expected = map(np.asarray, run(keys, choices))
    error = returns.std(1) / episodes**0.5
    assert (np.abs(returns.mean(1) - expected) < 4.5 * error + 1e-4).all()
    assert (error > 0).sum() > NUM // 2


def test_optimal_values():
    dist = CASES["5 actions"][0]
    levels, best, _ = exact("5 actions")
    level = jax.tree.map(lambda x: jnp.asarray(x[0]), levels)
    values = jax.jit(lambda level, left: optimal_values(dist.environment, level, left))(level, level.max_steps)
    env = dist.environment
    assert values.shape == (env.num_states, env.num_actions)
    start = level.start + env.num_cells * 3
    np.testing.assert_allclose(values[start].max(), best[0], rtol=1e-6)


def test_random_placement_is_refused():
    dist = All(**TINY, placement=RandomPlacement())
    with pytest.raises(ValueError, match="FixedPlacement"):
        optimal_return(dist.environment, exact("5 actions")[0])
