"""Mazes are connected, and levels have the documented distributions."""

import jax
import numpy as np
import pytest
from scipy.ndimage import label

from envs import Fixed
from envs.gridworld import DrawnMaze, KruskalMaze, Mazes, parse_map
from envs.gridworld.drawings import DRAWINGS, LABYRINTH_RINGS
from tests.envs.keys import make_keys


def components(free):
    return label(free)[1]


@pytest.mark.parametrize("i", range(len(DRAWINGS)))
def test_drawings_are_connected_and_different(i):
    free = parse_map(DRAWINGS[i])
    assert free.shape == (13, 13) and components(free) == 1 and free.sum() >= 70
    assert all((free != parse_map(other)).sum() > 10 for other in DRAWINGS[:i])


def test_random_mazes():
    both = KruskalMaze(height=13, width=13), KruskalMaze(height=13, width=13, loops=0.2)
    draw = jax.jit(jax.vmap(lambda key: tuple(maze(key).reshape(13, 13) for maze in both)))
    trees, loops = map(np.asarray, draw(make_keys(0, 100)))
    assert all(components(free) == 1 for free in (*trees, *loops))
    assert (trees.sum((1, 2)) == 49 + 48).all(), "a spanning tree of 49 rooms"
    assert len({free.tobytes() for free in trees}) == 100
    assert (loops >= trees).all() and abs((loops & ~trees).sum((1, 2)).mean() - 0.2 * 36) < 1


def test_levels():
    dist = Mazes()
    levels = jax.jit(jax.vmap(dist))(make_keys(1, 300))
    params = jax.tree.map(np.asarray, levels.params)
    assert (levels.num_updates == 2500).all() and params.present.all()
    assert params.max_steps.min() >= 25 and params.max_steps.max() <= 50
    assert params.reward.min() >= 0 and params.reward.max() <= 1 and abs(params.reward.mean() - 0.5) < 0.05
    assert params.p_terminate.min() >= 0.01 and params.p_respawn.max() <= 0.1
    assert all(params.free[n][[params.start[n], *params.object_cell[n]]].all() for n in range(300))
    assert len({free.tobytes() for free in params.free}) == len(DRAWINGS) == 9
    env = dist.environment
    assert (env.num_states, dist.num_updates, Mazes(maze=KruskalMaze(height=13, width=13)).environment) == (
        169 * 8,
        Fixed(2500),
        env,
    )
    single = DrawnMaze((LABYRINTH_RINGS,))(jax.random.key(0))
    np.testing.assert_array_equal(single.reshape(13, 13), parse_map(LABYRINTH_RINGS))


def test_errors():
    with pytest.raises(ValueError, match="odd"):
        KruskalMaze(height=12, width=13)
    with pytest.raises(ValueError, match="loops"):
        KruskalMaze(height=13, width=13, loops=1.5)
    with pytest.raises(ValueError, match="one size"):
        DrawnMaze((("..",), ("...",)))
    with pytest.raises(ValueError, match="num_objects"):
        Mazes(num_objects=0)
    with pytest.raises(ValueError, match="p_terminate"):
        Mazes(p_terminate=(0.0, 1.0))
