"""In-context lifetimes: what the meta-loss is the mean of, what is told of it, and meta-training of one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.tasks import SequenceLevels
from lopt.tasks.in_context import Reader
from tests.reference import in_context


def test_the_meta_loss_is_the_forward_pass_on_the_sequence_of_the_seed():
    life = in_context.lifetime(held_out=True)
    theta = jax.jit(life.model.init)(jax.random.key(0))
    level = jax.tree.map(lambda x: jnp.asarray(x)[0], in_context.levels(3))
    loss, _, told = jax.jit(life.meta_loss)(jax.random.key(9), theta, level, Reader(jnp.uint32(5), jnp.int32(1)))
    context = jax.jit(lambda key: life.task.context(key, level.params, held_out=True))(jax.random.key(5))
    outputs = np.asarray(jax.jit(life.model.apply)(theta, context.xs, context.ys_prev))
    likelihood = outputs - np.log(np.exp(outputs).sum(1, keepdims=True))
    losses = -likelihood[np.arange(in_context.T), context.targets]
    right = outputs.argmax(1) == context.targets
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    expected = {"loss_first": losses[0], "loss_last": losses[-1], "accuracy_first": right[0]}
    expected |= {"accuracy_last": right[-1], "accuracy_mean": right.mean()}
    assert set(told) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(told[name], value, rtol=1e-5)


def test_every_meta_step_is_on_new_tasks_and_new_sequences():
    life, number = in_context.lifetime(), 5
    learner = MetaLearner(
        MetaGradient(life, 1, remat=False),
        DomainRandomisation(SequenceLevels(life.task)),
        Uniform(),
        optax.adam(1e-2),
        number,
        stagger=False,
        pack=number,
    )

    key_theta, key_learner, *keys = jax.random.split(jax.random.key(0), 4)
    init, step = jax.jit(lambda key, born: learner.init(key, life.model.init(born))), jax.jit(learner.step)
    states = [init(key_learner, key_theta)]
    for key in keys:
        state, metrics = step(key, states[-1])
        states.append(state)
    words = np.concatenate([state.assignment.levels.params.words for state in states])
    assert len(np.unique(words, axis=0)) == 3 * number
    assert len(np.unique(np.concatenate([state.lifetimes.lives.seed for state in states]))) == 3 * number
    assert metrics["finished"] == number
    assert np.isfinite(metrics["meta_loss"]) and metrics["gradient_norm"] > 0
    assert any((a != b).any() for a, b in zip(*(jax.tree.leaves(s.theta) for s in states[1:]), strict=True))


def test_a_lifetime_below_one_is_an_error():
    with pytest.raises(ValueError, match="lifetime must be at least 1"):
        SequenceLevels(in_context.lifetime().task, 0)
