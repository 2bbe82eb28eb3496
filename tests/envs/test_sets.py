"""The hand-designed sets have the paper's values, and padding changes sizes alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import Fixed, Mixture
from envs.gridworld import (
    FOUR_MOVES,
    NINE_MOVES,
    NINE_MOVES_COLLECT,
    RANDOM_SETS,
    TABULAR_SETS,
    GridSet,
    GridWorld,
    Padded,
    PlaneView,
    RandomPlacement,
    TabularView,
    parse_map,
    random_return,
    sets,
)
from tests.envs.keys import make_keys

GOOD, BAD = 1.0, -1.0
PAPER = {  # height, width, walls, [(count, reward, p_terminate, p_respawn)], max_steps
    sets.dense: (11, 11, 0, [(2, GOOD, 0, 0.05), (1, BAD, 0.5, 0.1), (1, BAD, 0, 0.5)], 500),
    sets.sparse: (13, 13, 0, [(1, GOOD, 1, 0), (1, BAD, 1, 0)], 50),
    sets.long_horizon: (11, 11, 0, [(2, GOOD, 0, 0.01), (2, BAD, 0.5, 1)], 1000),
    sets.longer_horizon: (7, 9, 7, [(2, GOOD, 0.1, 0.01), (5, BAD, 0.8, 1)], 2000),
    sets.long_dense: (11, 11, 17, [(4, GOOD, 0, 0.005)], 2000),
    sets.rand_dense: (11, 11, 0, [(2, GOOD, 0, 0.05), (1, BAD, 0.5, 0.1), (1, BAD, 0, 0.5)], 500),
    sets.rand_long_horizon: (11, 11, 0, [(2, GOOD, 0, 0.01), (2, BAD, 0.5, 1)], 1000),
    sets.rand_small: (5, 7, 2, [(2, GOOD, 0, 0.05), (2, BAD, 0.5, 0.1)], 500),
    sets.rand_small_sparse: (5, 7, 0, [(1, GOOD, 1, 1), (2, BAD, 1, 1)], 50),
    sets.rand_very_dense: (11, 11, 0, [(1, GOOD, 0, 1)], 2000),
    sets.groove_longer_horizon: (9, 9, 7, [(2, GOOD, 0.1, 0.01), (3, BAD, 0.8, 1)], 2000),
    sets.groove_rand_small: (7, 7, 2, [(2, GOOD, 0, 0.05), (2, BAD, 0.5, 0.1)], 500),
    sets.groove_rand_small_sparse: (7, 7, 0, [(1, GOOD, 1, 1), (2, BAD, 1, 1)], 50),
}


def test_the_sets_are_listed():
    assert len(TABULAR_SETS) == len(RANDOM_SETS) == 5
    assert {*TABULAR_SETS, *RANDOM_SETS} <= set(PAPER)


@pytest.mark.parametrize("make", PAPER, ids=lambda make: make.__name__)
def test_paper_values(make):
    height, width, walls, objects, max_steps = PAPER[make]
    dist, env = make(), make().environment
    assert (env.height, env.width) == (height, width)
    assert (~parse_map(dist.rows)).sum() == walls
    rows = [row for count, *row in objects for _ in range(count)]
    np.testing.assert_allclose(dist.objects, rows)
    assert dist.max_steps == Fixed(max_steps)
    random = "rand" in make.__name__
    assert dist.num_updates == Fixed(25_000 if random else 2500)
    assert (env.placement == RandomPlacement(), env.view == PlaneView()) == (random, random)
    assert env.moves == (FOUR_MOVES if "groove" in make.__name__ else NINE_MOVES)
    assert make(moves=NINE_MOVES_COLLECT, num_updates=Fixed(3)).environment.num_actions == 18


def test_walls():
    assert np.argwhere(~parse_map(sets.MAP_SMALL)).tolist() == [[1, 2], [3, 4]]
    assert np.argwhere(~parse_map(sets.groove_rand_small().rows)).tolist() == [[1, 2], [3, 4]]
    middle = ~parse_map(sets.MAP_GROOVE_LONGER)[:, 4]
    assert np.flatnonzero(~middle).tolist() == [1, 7]
    cross = ~parse_map(sets.MAP_LONG_DENSE)
    assert np.flatnonzero(~cross[4]).tolist() == [2, 8] and np.flatnonzero(~cross[:, 5]).tolist() == [0, 7]
    with pytest.raises(ValueError, match="one length"):
        parse_map(("..", "."))
    with pytest.raises(ValueError, match="may occur"):
        parse_map(("x.",))
    with pytest.raises(ValueError, match="no free cell"):
        parse_map(("##",))


def test_a_level():
    dist = sets.longer_horizon()
    levels = jax.jit(jax.vmap(dist))(make_keys(0, 50))
    params = jax.tree.map(np.asarray, levels.params)
    assert params.present.all() and (levels.num_updates == 2500).all() and (params.max_steps == 2000).all()
    np.testing.assert_array_equal(params.free.reshape(-1, 7, 9), np.broadcast_to(parse_map(dist.rows), (50, 7, 9)))
    for n in range(50):
        cells = [params.start[n], *params.object_cell[n]]
        assert len(set(cells)) == 8 and params.free[n][cells].all()
    assert len(set(params.start.tolist())) > 20, "positions are resampled"


def test_errors():
    with pytest.raises(ValueError, match="free cells"):
        GridSet(rows=("..",), objects=2 * ((1.0, 0.0, 0.0),), max_steps=Fixed(5))
    with pytest.raises(ValueError, match="probabilities"):
        GridSet(rows=("..",), objects=((1.0, 2.0, 0.0),), max_steps=Fixed(5))


def test_padding_keeps_the_level():
    inner = GridSet(rows=("..#", "..."), objects=((1.0, 0.5, 0.3),), max_steps=Fixed(6), moves=FOUR_MOVES)
    env = GridWorld(height=4, width=5, num_objects=2)
    padded = Padded(inner, env)
    key = jax.random.key(3)
    small, large = jax.jit(lambda key: (inner(key).params, padded(key).params))(key)
    np.testing.assert_array_equal(large.free.reshape(4, 5)[:2, :3], small.free.reshape(2, 3))
    assert large.num_free == 5
    assert (large.start // 5, large.start % 5) == (small.start // 3, small.start % 3)
    assert large.present.tolist() == [True, False]
    padded_return = jax.jit(lambda level: random_return(env, level))(large)
    original_return = jax.jit(lambda level: random_return(inner.environment, level))(small)
    np.testing.assert_allclose(padded_return, original_return, rtol=1e-6)


def test_the_tabular_sets_can_be_mixed():
    env = GridWorld(height=13, width=13, num_objects=7, moves=NINE_MOVES)
    mixture = Mixture(tuple(Padded(make(), env) for make in TABULAR_SETS))
    assert mixture.environment == env
    mixture = Mixture(mixture.parts[:2])
    levels = jax.jit(jax.vmap(mixture))(make_keys(0, 100)).params
    steps, counts = np.unique(levels.max_steps, return_counts=True)
    assert steps.tolist() == [50, 500] and counts.min() > 25
    with pytest.raises(ValueError, match="height"):
        Padded(sets.sparse(), GridWorld(height=12, width=13, num_objects=7, moves=NINE_MOVES))
    with pytest.raises(ValueError, match="moves"):
        Padded(sets.sparse(), GridWorld(height=13, width=13, num_objects=7, moves=FOUR_MOVES))
    assert jnp.asarray(levels.free).shape == (100, 169) and env.view == TabularView()
