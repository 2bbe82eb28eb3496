"""Every distribution-based strategy of the installed evosax can be used, or is rejected with a reason."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from evosax.algorithms import DiscoveredES, LearnedES
from evosax.algorithms.distribution_based import distribution_based_algorithms

from experiments.cli.evolution import ESConfig, evolution, refused, strategies
from tests.contracts.test_estimator import Quadratic

OFFERED = sorted(
    distribution_based_algorithms.keys()
    - {"NoiseReuseES", "PersistentES", "RandomSearch"}
    - {"SV_CMA_ES", "SV_Open_ES"}
)
THETA = {"a": jnp.array([0.5, -1.0]), "b": jnp.array([[2.0], [0.3]])}
KEY = jax.random.key(0)


def test_every_strategy_is_either_offered_or_refused():
    assert sorted(strategies()) == OFFERED
    assert strategies().keys() | refused().keys() == distribution_based_algorithms.keys()
    assert not strategies().keys() & refused().keys()
    assert strategies()["DES"] is DiscoveredES and strategies()["LES"] is LearnedES


@pytest.mark.parametrize("name", OFFERED)
def test_ask_and_tell_of_every_offered_strategy_keep_the_shapes_of_theta(name):
    config = ESConfig(strategy=name, population=8)
    config.check(num_lifetimes=4)
    estimator, _ = evolution(config, Quadratic(), lambda key: THETA, 3, optax.constant_schedule(0.1))
    algorithm, params = estimator.algorithm, estimator.params
    with jax.numpy_rank_promotion("allow"):
        state = algorithm.init(KEY, THETA, params)
        chex.assert_trees_all_close(algorithm.get_mean(state), THETA)
        population, state = algorithm.ask(KEY, state, params)
        chex.assert_trees_all_equal_shapes_and_dtypes(population, jax.tree.map(lambda x: jnp.stack([x] * 8), THETA))
        fitness = sum(jnp.square(x - 1.0).reshape(8, -1).sum(-1) for x in jax.tree.leaves(population))
        state, _ = algorithm.tell(KEY, population, fitness, state, params)
    mean = algorithm.get_mean(state)
    chex.assert_tree_all_finite(mean)
    assert jax.tree.structure(mean) == jax.tree.structure(THETA)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SV_CMA_ES", "several means"),
        ("SV_Open_ES", "several means"),
        ("PersistentES", "lopt.meta.PES"),
        ("NoiseReuseES", "lopt.meta.PES"),
        ("RandomSearch", "fixed distribution"),
    ],
)
def test_refused_strategies_raise_a_message_with_the_reason(name, reason):
    assert name in refused()
    with pytest.raises(ValueError, match=f"{name} of evosax is not offered: .*{reason}"):
        ESConfig(strategy=name).check(num_lifetimes=4)
