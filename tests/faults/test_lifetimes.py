"""Every array of a learner's state spoiled, in every lifetime: theta stays finite, and the learner does not go on."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import tree
from lopt.curriculum import FrozenSet, Uniform
from lopt.meta import ES, MetaGradient, MetaLearner
from tests.contracts.test_lifetime import LENGTHS, LIFETIMES, parts

KEY = jax.random.key(0)
N, K = len(LENGTHS), 2
SPOILED = 2
"""The row of the lifetime that is spoiled, one that does not end by itself."""
FAST = ("LPG, lifetime return", "supervised, by an MLP", "in context")
NOT_DIFFERENTIABLE = ("final return", "lifetime return", "multi-environment", "PPO by OPEN", "LPO", "bandit")

CASES = [
    pytest.param(name, estimator, marks=() if estimator == "ES" and name in FAST else pytest.mark.slow)
    for estimator in ("ES", "MetaGradient")
    for name in LIFETIMES
    if estimator == "ES" or not any(part in name for part in NOT_DIFFERENTIABLE)
]
AGENTS = ("LPG, lifetime return", "LPG, final return", "LPO, tables", "TA-LPO, continuous actions, lifetime return")


class Rule:
    """The theta of a test's lifetime."""

    def __init__(self, theta):
        self.theta = theta

    def init(self, key):
        return self.theta


@functools.cache
def jitted(name, estimator):
    """`(state, step)`: a meta-state after one meta-step without faults, and the compiled step."""
    lifetime, levels, theta, _ = parts(name)
    if estimator == "ES":
        how = ES(lifetime=lifetime, num_updates=K, std=1e-3)
    else:
        how = MetaGradient(lifetime=lifetime, num_updates=K)
    learner = MetaLearner(
        estimator=how,
        curriculum=FrozenSet(levels=tree.take(levels, np.array([SPOILED, SPOILED]))),
        score=Uniform(),
        optimizer=optax.adam(1e-3),
        num_lifetimes=N,
        stagger=False,
        rule=Rule(theta),
    )
    step = jax.jit(learner.step)
    state, _ = step(KEY, jax.jit(learner.init)(KEY))
    return state, step


def is_float(x):
    return jnp.issubdtype(x.dtype, jnp.floating)


@pytest.mark.parametrize(("name", "estimator"), CASES)
def test_every_array_of_a_learner(name, estimator):
    state, step = jitted(name, estimator)
    key = jax.random.key(1)
    clean, clean_metrics = step(key, state)
    before = state.estimator_state.per_lifetime
    leaves, structure = jax.tree.flatten(before)
    paths = [jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_leaves_with_path(before)]
    unnoticed = []
    agent = [".agent" in path or not any(".agent" in p for p in paths) for path in paths]
    for i, leaf in enumerate(leaves):
        for value in (np.nan, np.inf) if is_float(leaf) and leaf.size else ():
            spoiled = jax.tree.unflatten(structure, [*leaves[:i], leaf.at[SPOILED].set(value), *leaves[i + 1 :]])
            given = state.replace(estimator_state=state.estimator_state.replace(per_lifetime=spoiled))
            after, metrics = step(key, given)
            where = f"{paths[i]} {value}"
            chex.assert_tree_all_finite((after.theta, after.opt_state))
            for metric, x in clean_metrics.items():
                assert np.isfinite(metrics[metric]) or not np.isfinite(x), (where, metric)
            states = (s.estimator_state.per_lifetime for s in (after, clean))
            rows = zip(*map(jax.tree.leaves, states), agent, strict=True)
            # environments and running statistics are reset by the next episode or window
            if not all((np.isfinite(new) | ~np.isfinite(old)).all() for new, old, own in rows if own and is_float(new)):
                unnoticed.append(f"{where}: frac_nonfinite {metrics['frac_nonfinite']:.3g}")
    assert not unnoticed, "\n".join(["the learner goes on with an array that is not finite:", *unnoticed])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in AGENTS]
)
def test_rewards_and_observations(name, value):
    """A level whose rewards are not finite, and an environment whose observation is not."""
    state, step = jitted(name, "ES")
    levels = state.assignment.levels
    params = jax.tree.map(lambda x: x.at[SPOILED].set(value) if is_float(x) else x, levels.params)
    bad_levels = state.replace(assignment=state.assignment.replace(levels=levels.replace(params=params)))
    learners = state.estimator_state.per_lifetime
    batch = jax.tree.map(lambda x: x.at[SPOILED].set(value) if is_float(x) else x, learners.env_batch)
    spoiled = state.estimator_state.replace(per_lifetime=learners.replace(env_batch=batch))
    for given in (bad_levels, state.replace(estimator_state=spoiled)):
        for i in range(3):
            given, metrics = step(jax.random.key(i), given)
            chex.assert_tree_all_finite((given.theta, given.opt_state))
            assert np.isfinite(metrics["meta_loss"])
        chex.assert_tree_all_finite(given.estimator_state.per_lifetime.agent)
