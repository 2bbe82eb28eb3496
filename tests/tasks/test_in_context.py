"""In-context lifetimes: the meta-loss and its metrics, and meta-training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.tasks import SequenceLevels
from lopt.tasks.incontext.lifetime import InContextLearnerState
from tests.reference import in_context


def test_meta_loss_is_the_mean_loss_of_the_forward_pass():
    lifetime = in_context.lifetime(held_out=True)
    theta = jax.jit(lifetime.model.init)(jax.random.key(0))
    level = jax.tree.map(lambda x: jnp.asarray(x)[0], in_context.levels(3))
    loss, _, metrics = jax.jit(lifetime.meta_loss)(
        jax.random.key(9), theta, level, InContextLearnerState(jnp.uint32(5), jnp.int32(1))
    )
    context = jax.jit(lambda key: lifetime.task.context(key, level.params, held_out=True))(jax.random.key(5))
    outputs = np.asarray(jax.jit(lifetime.model.apply)(theta, context.xs, context.ys_prev))
    likelihood = outputs - np.log(np.exp(outputs).sum(1, keepdims=True))
    losses = -likelihood[np.arange(in_context.T), context.targets]
    correct = outputs.argmax(1) == context.targets
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-5)
    expected = {"loss_first": losses[0], "loss_last": losses[-1], "accuracy_first": correct[0]}
    expected |= {"accuracy_last": correct[-1], "accuracy_mean": correct.mean()}
    assert set(metrics) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5)


def test_every_meta_step_uses_new_tasks_and_new_sequences():
    lifetime, number = in_context.lifetime(), 5
    learner = MetaLearner(
        estimator=MetaGradient(lifetime=lifetime, num_updates=1, remat=False),
        curriculum=DomainRandomisation(SequenceLevels(lifetime.task)),
        score=Uniform(),
        optimizer=optax.adam(1e-2),
        num_lifetimes=number,
        stagger=False,
        pack=number,
    )

    key_theta, key_learner, *keys = jax.random.split(jax.random.key(0), 4)
    init = jax.jit(lambda key, key_theta: learner.init(key, lifetime.model.init(key_theta)))
    step = jax.jit(learner.step)
    states = [init(key_learner, key_theta)]
    for key in keys:
        state, metrics = step(key, states[-1])
        states.append(state)
    task_seeds = np.concatenate([state.assignment.levels.params.projection_seed for state in states])
    assert len(np.unique(task_seeds, axis=0)) == 3 * number
    sequence_seeds = np.concatenate([state.estimator_state.per_lifetime.seed for state in states])
    assert len(np.unique(sequence_seeds)) == 3 * number
    assert metrics["finished"] == number
    assert np.isfinite(metrics["meta_loss"]) and metrics["gradient_norm"] > 0
    assert any((a != b).any() for a, b in zip(*(jax.tree.leaves(s.theta) for s in states[1:]), strict=True))


def test_lifetime_below_one_raises():
    with pytest.raises(ValueError, match="lifetime must be at least 1"):
        SequenceLevels(in_context.lifetime().task, 0)
