"""Fitness shapings: closed forms, ties, non-finite fitness, order and scale."""

import jax.numpy as jnp
import numpy as np
import pytest

from lopt.meta import CentredRank, PairSign, Raw, ZScore

SHAPINGS = {"PairSign": PairSign(), "CentredRank": CentredRank(), "ZScore": ZScore(), "Raw": Raw()}
for_shapings = pytest.mark.parametrize("name", SHAPINGS)
NAN, INF = np.nan, np.inf


def weights(shaping, *pairs):
    return np.asarray(shaping(jnp.array(pairs, jnp.float32)))


def test_pair_sign():
    expected = [[0.5, -0.5], [-0.5, 0.5], [0, 0], [0.5, -0.5]]
    np.testing.assert_array_equal(weights(PairSign(), (3, 1), (-100, 1), (2, 2), (0, -1e-6)), expected)


def test_centred_rank_gives_equal_fitness_equal_rank():
    found = weights(CentredRank(), (3, 1), (1, 7))
    np.testing.assert_allclose(found, np.array([[2, 0.5], [0.5, 3]]) / 3 - 0.5, rtol=1e-6)


def test_z_score():
    fitness = np.random.default_rng(0).normal(3, 5, (6, 2)).astype(np.float32)
    expected = (fitness - fitness.mean()) / fitness.std()
    np.testing.assert_allclose(weights(ZScore(), *fitness), expected, rtol=1e-4, atol=1e-6)


@for_shapings
def test_a_tie_contributes_nothing(name):
    """The contribution of a pair is proportional to the difference of its weights."""
    for value in (0.0, 0.1, -3.3e5):
        found = weights(SHAPINGS[name], *[(value, value)] * 5)
        np.testing.assert_array_equal(found[:, 0] - found[:, 1], np.zeros(5))
    if name != "Raw":
        np.testing.assert_array_equal(found, np.zeros((5, 2)))


@for_shapings
@pytest.mark.parametrize("bad", [NAN, -INF])
def test_nonfinite_fitness_never_wins(name, bad):
    found = weights(SHAPINGS[name], (bad, -5), (1, bad), (2, 3), (bad, bad))
    assert np.isfinite(found).all()
    assert found[0, 0] <= found[0, 1] and found[1, 1] <= found[1, 0] and found[3, 0] == found[3, 1]
    assert (found <= max(found[2].max(), 0.5)).all()
    if name != "Raw":
        assert found[1, 0] > found[1, 1]
    only = weights(SHAPINGS[name], (bad, bad), (bad, bad))
    np.testing.assert_array_equal(only, np.zeros((2, 2)))


@for_shapings
def test_better_fitness_gets_more_weight(name):
    fitness = np.random.default_rng(1).normal(size=(8, 2)).astype(np.float32)
    found = weights(SHAPINGS[name], *fitness)
    assert (np.sign(found[:, 0] - found[:, 1]) == np.sign(fitness[:, 0] - fitness[:, 1])).all()


@pytest.mark.parametrize("name", ["PairSign", "CentredRank"])
def test_ranks_are_invariant_to_the_scale(name):
    fitness = np.random.default_rng(2).normal(size=(8, 2)).astype(np.float32)
    np.testing.assert_array_equal(weights(SHAPINGS[name], *fitness), weights(SHAPINGS[name], *np.exp(3 * fitness)))
