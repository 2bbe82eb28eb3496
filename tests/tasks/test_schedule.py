"""Schedules drawn per learner, rules that follow them, and meta-losses with the training losses of a window."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.optimizers import FromOptax, Schedule, Scheduled
from lopt.tasks import Quadratic, RandomSchedule, SupervisedLifetime, Variations, WindowLoss
from lopt.types import Progress

KEY = jax.random.key(0)
TASK = Quadratic(dimensions=3, noise=0.1)
SGD = FromOptax(lambda _: optax.sgd(1.0))
INNER = SupervisedLifetime(task=TASK, optimizer=FromOptax(lambda _: optax.sgd(0.1)))


@pytest.mark.parametrize(
    ("shape", "reference"),
    [
        (0, optax.constant_schedule(0.3)),
        (1, optax.linear_schedule(0.3, 0.0, 8)),
        (2, optax.cosine_decay_schedule(0.3, 8)),
    ],
)
def test_schedules_are_those_of_optax(shape, reference):
    schedule = Schedule(jnp.float32(0.3), jnp.int32(shape))
    for n in range(9):
        np.testing.assert_allclose(schedule(Progress(jnp.int32(n), jnp.int32(8))), reference(n), rtol=1e-5, atol=1e-7)


def test_peaks_are_log_uniform_and_shapes_have_their_probabilities():
    task = RandomSchedule(task=TASK, smallest=0.01, largest=1.0, probabilities=(0.5, 0.0, 0.5))
    drawn = jax.jit(jax.vmap(task.sample))(jax.random.split(KEY, 2000)).schedule
    logs = np.log10(drawn.peak)
    assert logs.min() >= -2 - 1e-5 and logs.max() <= 1e-5
    # standard errors: 2 / sqrt(12) / sqrt(2000) and 1 / (2 sqrt(2000))
    assert abs(logs.mean() + 1) < 4 * 0.0129 and abs((np.asarray(drawn.shape) == 0).mean() - 0.5) < 4 * 0.0112
    assert set(np.asarray(drawn.shape)) == {0, 2}


def test_a_learner_follows_its_own_schedule():
    """The lifetime of a scheduled rule equals SGD with the same schedule as an optax schedule."""
    levels = Variations(task=RandomSchedule(task=TASK, smallest=0.05, largest=0.5), num_updates=4)
    level = levels(KEY)
    schedule = level.params.task.schedule
    scheduled = SupervisedLifetime(task=levels.task, optimizer=Scheduled(SGD))
    by_optax = SupervisedLifetime(
        task=levels.task,
        optimizer=FromOptax(lambda _: optax.sgd(lambda count: schedule(Progress(count, jnp.int32(4))))),
    )

    def train(lifetime):
        state = lifetime.init(KEY, (), level)
        for i in range(4):
            state, _ = lifetime.step(jax.random.fold_in(KEY, i), (), level, state)
        return state.params

    chex.assert_trees_all_close(*(jax.jit(lambda x=x: train(x))() for x in (scheduled, by_optax)), rtol=1e-5)


def test_a_scheduled_rule_needs_its_schedule():
    tx, params = Scheduled(SGD).as_optax(()), {"x": jnp.zeros(3)}
    with pytest.raises(ValueError, match="Scheduled: update needs the extra arguments schedule and progress"):
        tx.update(params, tx.init(params), params, schedule=Schedule(jnp.float32(1), jnp.int32(0)))


def test_the_window_is_the_mean_of_the_losses_since_the_last_meta_loss():
    lifetime, bounded = WindowLoss(lifetime=INNER, share=0.25), WindowLoss(lifetime=INNER, share=1.0, bound=1e-3)
    level = Variations(task=TASK, num_updates=5)(KEY)

    @jax.jit
    def run(key):
        state, losses, measured = lifetime.init(key, (), level), [], []
        for i in range(6):  # the last one is after the end of the lifetime
            state, info = lifetime.step(jax.random.fold_in(key, i), (), level, state)
            losses.append(info.metrics["loss"])
            if i in (1, 5):
                own, _, _ = INNER.meta_loss(key, (), level, state.learner)
                total, state, metrics = lifetime.meta_loss(key, (), level, state)
                measured.append((total, own, metrics["window_loss"]))
        again = lifetime.meta_loss(key, (), level, state)
        return losses, measured, (again[0], INNER.meta_loss(key, (), level, state.learner)[0])

    losses, measured, (empty, own) = run(KEY)
    for (total, held_out, window), means in zip(measured, (losses[:2], losses[2:5]), strict=True):
        np.testing.assert_allclose(window, np.mean(means), rtol=1e-6)
        np.testing.assert_allclose(total, 0.75 * held_out + 0.25 * np.mean(means), rtol=1e-6)
    np.testing.assert_allclose(empty, own, rtol=1e-6)
    state, _ = bounded.step(KEY, (), level, bounded.init(KEY, (), level))
    np.testing.assert_allclose(bounded.meta_loss(KEY, (), level, state)[0], 1e-3, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomSchedule(task=TASK, smallest=1.0, largest=0.1), "0 < smallest <= largest"),
        (
            lambda: RandomSchedule(task=TASK, smallest=0.1, largest=1.0, probabilities=(0.5, 0.2, 0.2)),
            "three numbers that sum to 1",
        ),
        (lambda: WindowLoss(lifetime=INNER, share=1.5), r"share must be in \[0, 1\]"),
        (lambda: WindowLoss(lifetime=INNER, bound=float("inf")), "bound must be finite"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()
