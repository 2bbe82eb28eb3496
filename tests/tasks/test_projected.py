"""Projected classification: distribution and seeds of tasks, contents of sequences, and invalid arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt import tasks
from lopt.tasks import Dataset, Examples, ProjectedClassification, sample_without_replacement
from tests.reference import keys
from tests.reference.supervised import spots
from tests.reference.ulps import assert_ulps

T, FEATURES, SLOTS = 6, 5, 4
task = functools.partial(ProjectedClassification, data=spots(), length=T, features=FEATURES, slots=SLOTS)


@functools.cache
def sampled_tasks(number=400, **changes):
    """Many tasks: their records, A and rho."""
    distribution = task(**changes)

    def draw(key):
        sampled = distribution.sample(key)
        return sampled, *distribution.matrix_and_permutation(sampled)

    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), number))


def test_projections_have_variance_one_over_the_inputs():
    """With a standard deviation of 1 / N_x it would be N_x times smaller."""
    inputs = spots().train.inputs.shape[1]
    _, projections, _ = sampled_tasks()
    assert projections.shape == (400, FEATURES, inputs)
    entries = np.asarray(projections).ravel() * inputs**0.5
    assert stats.kstest(entries, "norm").pvalue > 1e-3
    assert entries.var() == pytest.approx(1, abs=4 * (2 / entries.size) ** 0.5)


@pytest.mark.parametrize("centred", [True, False])
def test_projected_inputs_have_variance_one(centred):
    distribution = ProjectedClassification(data=tasks.digits(), length=50, features=16, centred=centred)

    def xs(key):
        key_task, key_context = jax.random.split(key)
        return distribution.context(key_context, distribution.sample(key_task), held_out=False).xs

    inputs = np.asarray(jax.jit(jax.vmap(xs))(jax.random.split(jax.random.key(0), 100)))
    assert inputs.mean() == pytest.approx(0, abs=0.1)
    assert np.square(inputs).mean() == pytest.approx(1, abs=0.05)


def test_labels_are_uniform_injections():
    _, _, permutations = sampled_tasks()
    assert (np.sort(permutations, 1) == np.arange(SLOTS)).all()
    counts = np.stack([np.bincount(column, minlength=SLOTS) for column in np.asarray(permutations).T])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


@functools.cache
def contexts(held_out=False, **changes):
    """`(contexts, A, rho)` of 20 sequences."""
    distribution = task(**changes)

    def draw(key):
        key_task, key_context = jax.random.split(key)
        sampled = distribution.sample(key_task)
        context = distribution.context(key_context, sampled, held_out=held_out)
        return context, *distribution.matrix_and_permutation(sampled)

    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 20))


@pytest.mark.parametrize(("held_out", "centred"), [(False, True), (True, False)])
def test_sequences_have_projected_inputs_and_previous_labels(held_out, centred):
    data = spots()
    part = data.held_out if held_out else data.train
    mean = data.train.inputs.mean(0 if centred else None)
    x = (part.inputs - mean) / (data.train.inputs - mean).std()
    context, projections, permutations = jax.tree.map(np.asarray, contexts(held_out, centred=centred))
    for i in range(len(projections)):
        images, labels = x @ projections[i].T, permutations[i][part.targets]
        distance = np.abs(context.xs[i][:, None] - images[None]).max(-1)
        index = distance.argmin(1)
        assert distance.min(1).max() < 1e-4
        assert len(set(index.tolist())) == T
        np.testing.assert_array_equal(context.targets[i], labels[index])
        np.testing.assert_array_equal(context.ys_prev[i, 0], np.zeros(SLOTS))
        np.testing.assert_array_equal(context.ys_prev[i, 1:], np.eye(SLOTS)[context.targets[i, :-1]])


def test_min_classes_makes_the_number_of_classes_uniform():
    distribution = ProjectedClassification(data=spots(), length=3, features=FEATURES, min_classes=1)
    draw = jax.jit(jax.vmap(lambda key: distribution._draw_examples(key, False)))
    index = np.asarray(draw(jax.random.split(jax.random.key(0), 3000)))
    labels = spots().train.targets[index]
    assert all(len(set(row)) == 3 for row in index.tolist())
    numbers = np.array([len(set(row)) for row in labels.tolist()])
    assert set(numbers) == {1, 2, 3}
    assert (numbers == 1).mean() > 1 / 3
    assert (numbers == 1).mean() == pytest.approx(1 / 3 * (1 + 1 / 4 + 1 / 9), abs=0.06)
    # all classes are equally likely, and with all classes in a sequence all examples are
    assert np.bincount(labels[:, 0]).min() > 0.9 * 1000
    index = jax.jit(jax.vmap(lambda key: task()._draw_examples(key, False)))(jax.random.split(jax.random.key(1), 1000))
    assert stats.chisquare(np.bincount(np.asarray(index)[:, 2], minlength=30)).pvalue > 1e-3


def test_a_finite_number_of_tasks_are_those_of_the_pool():
    distribution = task(num_tasks=3, pool_seed=5)
    sampled, projections, permutations = sampled_tasks(60, num_tasks=3, pool_seed=5)
    pool = [distribution.pool_task(k) for k in range(3)]
    seeds = np.asarray(sampled.projection_seed)
    numbers = [[np.array_equal(seed, p.projection_seed) for p in pool].index(True) for seed in seeds]
    assert set(numbers) == {0, 1, 2}
    for k, (matrix, permutation) in enumerate(map(distribution.matrix_and_permutation, pool)):
        i = numbers.index(k)
        # the polynomial of a normal number has some 15 terms of size one, rounded twice each
        assert_ulps(matrix, projections[i], ulps=30, scale=1.0)
        np.testing.assert_array_equal(permutation, permutations[i])
    assert not np.array_equal(pool[0].projection_seed, task(pool_seed=6).pool_task(0).projection_seed)


def test_infinitely_many_tasks_are_distinct_and_not_from_a_pool():
    seeds = {tuple(row) for row in np.asarray(sampled_tasks()[0].projection_seed)}
    assert len(seeds) == 400
    pool_seeds = jax.jit(jax.vmap(lambda k: task(num_tasks=1).pool_task(k).projection_seed))
    assert not seeds & {tuple(row) for row in np.asarray(pool_seeds(jnp.arange(2**12)))}


def test_a_fraction_of_the_tasks_is_unpermuted():
    sampled, _, permutations = sampled_tasks(num_tasks=1, unpermuted=0.75)
    unpermuted = ~np.asarray(sampled.permute_labels)
    assert unpermuted.mean() == pytest.approx(0.75, abs=0.1)
    assert (np.asarray(permutations)[unpermuted] == np.arange(SLOTS)).all()
    seeds = np.asarray(sampled.projection_seed)
    assert len(np.unique(seeds[unpermuted], axis=0)) == unpermuted.sum(), "their projections are new"
    assert len(np.unique(seeds[~unpermuted], axis=0)) == 1
    assert np.asarray(sampled_tasks()[0].permute_labels).all()


def test_sampling_without_replacement_is_distinct_uniform_and_in_random_order():
    draw = jax.jit(jax.vmap(lambda key: sample_without_replacement(key, 5, 3)))
    samples = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))
    counts = np.unique(samples @ [25, 5, 1], return_counts=True)[1]
    assert len(counts) == 5 * 4 * 3
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(np.sort(sample_without_replacement(jax.random.key(0), 4, 4)), np.arange(4))


def test_examples_repeat_if_not_distinct():
    short = Dataset(*(Examples(part.inputs[:3], part.targets[:3]) for part in (spots().train, spots().held_out)), 3)
    context = ProjectedClassification(data=short, length=T, features=FEATURES, distinct=False).context
    sampled = ProjectedClassification(data=short, length=3, features=FEATURES, distinct=False).sample(jax.random.key(0))
    xs = np.asarray(context(jax.random.key(1), sampled, held_out=True).xs)
    assert len(np.unique(xs, axis=0)) <= 3
    with pytest.raises(ValueError, match=r"6 distinct examples need as many in train and in held_out \(got 3\)"):
        ProjectedClassification(data=short, length=T, features=FEATURES)


def test_losses_are_per_position():
    outputs = jnp.log(jnp.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.2, 0.5, 0.1]]))
    loss, metrics = task().losses(task().pool_task(0), outputs, jnp.array([0, 0]))
    np.testing.assert_allclose(loss, -np.log([0.7, 0.2]), rtol=1e-5)
    np.testing.assert_array_equal(metrics["accuracy"], [1, 0])


def test_no_key_is_used_twice(monkeypatch):
    distribution = task(num_tasks=3, unpermuted=0.5)
    sampled = keys.trace(monkeypatch, distribution.sample, jax.random.key(0))
    assert sampled.projection_seed.shape == (2,)
    pool_task = task().pool_task(1)
    keys.trace(monkeypatch, lambda key: distribution.context(key, pool_task, held_out=False), jax.random.key(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 2}, "3 classes need as many slots"),
        ({"length": 11}, "11 distinct examples"),
        ({"min_classes": 1}, "6 distinct examples need as many in train and in held_out .got [23]"),
        ({"min_classes": 4}, "min_classes must be in"),
        ({"length": 0}, "length must be at least 1"),
        ({"features": 0}, "features must be at least 1"),
        ({"num_tasks": 0}, "num_tasks must be in"),
        ({"unpermuted": 1.5}, r"unpermuted must be in \[0, 1\]"),
        ({"data": tasks.diabetes()}, r"one class per example \(got float32"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        ProjectedClassification(**{"data": spots(), "length": T, "slots": SLOTS} | changes)
