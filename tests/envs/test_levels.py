"""GROOVE's level distributions: invariants of a level, and the distributions of its parameters."""

import dataclasses
import functools

import jax
import numpy as np
import pytest
from scipy import stats

from envs import Fixed, LogUniform, Uniform
from envs.gridworld import All, PlaneView, RandomPlacement, debug, large, medium, rand_all, small
from tests.envs.keys import make_keys

DISTRIBUTIONS = {"all": All(), "crowded": All(sizes=(4, 5), wall_range=5)}
NUM = 3000


@functools.cache
def sample(name):
    draw = jax.jit(jax.vmap(DISTRIBUTIONS[name]))
    return jax.tree.map(np.asarray, draw(make_keys(0, NUM)))


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_start_and_objects_are_distinct_free_cells(name):
    level, env = sample(name).params, DISTRIBUTIONS[name].environment
    rows = np.arange(NUM)
    assert level.free[rows, level.start].all()
    assert level.free[rows[:, None], level.object_cell].all()  # absent objects have the start cell
    for n in range(NUM):
        used = [level.start[n], *level.object_cell[n][level.present[n]]]
        assert len(set(used)) == len(used)
    assert (level.present.sum(1) < level.num_free).all()
    assert (np.diff(level.present.astype(int), axis=1) <= 0).all(), "the first objects are the present ones"
    for values in (level.reward, level.p_terminate, level.p_respawn):
        assert (values[~level.present] == 0).all()
    np.testing.assert_array_equal(level.num_free, level.free.sum(1))
    expected = np.stack([np.r_[np.flatnonzero(free), np.flatnonzero(~free)] for free in level.free])
    np.testing.assert_array_equal(level.free_cells, expected)
    assert level.free.shape == (NUM, env.num_cells) and level.reward.shape == (NUM, env.num_objects)


def test_crowded_levels_have_fewer_objects():
    level = sample("crowded").params
    assert (level.num_free[level.present.sum(1) == level.num_free - 1] <= 5).any()
    assert level.num_free.min() <= 3


def test_all_walls():
    """15 of 100 indices are walls, in the level's own width: 15 g^2 / 100 walls on average."""
    level = sample("all").params
    free = level.free.reshape(NUM, 10, 10)
    size = np.maximum(free.any(2).shape[1] - free.any(2)[:, ::-1].argmax(1), 0)
    size = np.maximum(size, free.shape[2] - free.any(1)[:, ::-1].argmax(1))
    walls = size**2 - level.num_free
    full = size == 10
    assert (walls[full] == 15).all()
    for g in (6, 8):
        chosen = walls[size == g]
        assert abs(chosen.mean() - 0.15 * g**2) < 5 * chosen.std() / len(chosen) ** 0.5 + 0.05
    # with side 4, a whole border can be walls
    assert stats.chisquare(np.bincount(size, minlength=11)[5:]).pvalue > 1e-4


def test_all_distributions():
    level, lifetime = sample("all").params, sample("all").num_updates
    first, others = level.reward[:, 0], level.reward[:, 1:][level.present[:, 1:]]
    assert stats.kstest(first[level.present[:, 0]], stats.uniform(0, 1).cdf).pvalue > 1e-4
    assert stats.kstest(others, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    for values, (low, high) in ((level.p_terminate, (0.01, 1)), (level.p_respawn, (0.001, 0.1))):
        chosen = values[level.present]
        assert low <= chosen.min() and chosen.max() <= high
        assert stats.kstest(chosen, stats.loguniform(low, high).cdf).pvalue > 1e-4
    assert stats.chisquare(np.bincount(level.present.sum(1), minlength=6)[1:]).pvalue > 1e-4
    assert level.max_steps.min() >= 20 and level.max_steps.max() <= 750
    quantiles = np.quantile(level.max_steps, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quantiles, 20 * 37.5 ** np.array([0.25, 0.5, 0.75]), rtol=0.06)
    assert (lifetime == 250).all()


def test_int_distributions():
    u = (np.arange(10_000, dtype=np.float32) + 0.5) / 10_000
    assert set(np.asarray(Fixed(7)(u[:5] * jax.numpy.ones(5)))) == {7}
    counts = np.bincount(np.asarray(Uniform(2, 5)(jax.numpy.asarray(u))))
    assert counts[:2].sum() == 0 and (counts[2:] == 2500).all()
    values = np.asarray(LogUniform(10, 250)(jax.numpy.asarray(u)))
    assert (values.min(), values.max(), values.dtype) == (10, 250, np.int32)
    np.testing.assert_allclose(np.median(values), 50, atol=1)
    for distribution in (Fixed(3), Uniform(3, 9), LogUniform(3, 9)):
        assert distribution.low == 3 and distribution.high in (3, 9)
        assert distribution(jax.numpy.float32(0.999)) == distribution.high


def test_groove_values():
    """arXiv 2310.02782, appendix C, and the official configurations."""
    expected = {
        small: ((4, 6), (1, 3), 7, 6, (20, 100), 250),
        medium: ((6, 8), (2, 4), 10, 8, (100, 250), 1000),
        large: ((8, 10), (2, 5), 15, 10, (250, 750), 2500),
        debug: ((3, 4), (1, 2), 4, 4, (5, 10), 4),
        All: ((4, 10), (1, 5), 15, 10, (20, 750), 250),
        rand_all: ((4, 10), (1, 5), 15, 10, (20, 750), 25_000),
    }
    for make, values in expected.items():
        dist = make()
        steps = (dist.max_steps.low, dist.max_steps.high)
        got = (dist.sizes, dist.objects, dist.num_walls, dist.wall_range, steps, dist.num_updates.value)
        assert got == values
        assert (dist.p_terminate, dist.p_respawn) == ((0.01, 1.0), (0.001, 0.1))
        assert dist.environment.num_actions == 5
    env = All().environment
    assert (env.num_states, env.num_cells, env.num_objects) == (3200, 100, 5)
    assert (rand_all().placement, rand_all().view) == (RandomPlacement(), PlaneView())
    assert small(num_updates=LogUniform(10, 250)).num_updates == LogUniform(10, 250)


@pytest.mark.parametrize(
    "changes",
    [
        {"sizes": (5, 4)},
        {"objects": (0, 3)},
        {"num_walls": 16},
        {"wall_range": 3},
        {"p_respawn": (0.0, 0.1)},
        {"p_terminate": (0.5, 1.5)},
        {"num_updates": None},
    ],
)
def test_errors(changes):
    if changes == {"num_updates": None}:
        with pytest.raises(ValueError, match="value must be >= 1"):
            Fixed(0)
        return
    with pytest.raises(ValueError, match=f"All: {next(iter(changes))}"):
        dataclasses.replace(All(), **changes)


def test_errors_of_int_distributions():
    for distribution in (Uniform, LogUniform):
        with pytest.raises(ValueError, match="low <= high"):
            distribution(3, 2)
