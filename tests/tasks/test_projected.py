"""Tasks to be learned in context: their distribution, their seeds, what a sequence tells, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt import tasks
from lopt.tasks import Dataset, Examples, ProjectedClassification, draw_distinct
from tests.reference import keys
from tests.reference.supervised import spots
from tests.reference.ulps import assert_ulps

T, FEATURES, SLOTS = 6, 5, 4
task = functools.partial(ProjectedClassification, spots(), T, FEATURES, SLOTS)


@functools.cache
def drawn(number=400, **changes):
    """Many tasks: their records, A and rho."""
    one = task(**changes)

    def draw(key):
        sampled = one.sample(key)
        return sampled, *one.drawn(sampled)

    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), number))


def test_projections_have_variance_one_over_the_inputs():
    """The trap: a deviation of 1 / N_x would make this N_x times smaller."""
    inputs = spots().train.inputs.shape[1]
    _, projections, _ = drawn()
    assert projections.shape == (400, FEATURES, inputs)
    entries = np.asarray(projections).ravel() * inputs**0.5
    assert stats.kstest(entries, "norm").pvalue > 1e-3
    assert entries.var() == pytest.approx(1, abs=4 * (2 / entries.size) ** 0.5)


@pytest.mark.parametrize("centred", [True, False])
def test_projected_inputs_have_variance_one(centred):
    one = ProjectedClassification(tasks.digits(), 50, 16, centred=centred)

    def xs(key):
        key_task, key_context = jax.random.split(key)
        return one.context(key_context, one.sample(key_task), held_out=False).xs

    found = np.asarray(jax.jit(jax.vmap(xs))(jax.random.split(jax.random.key(0), 100)))
    assert found.mean() == pytest.approx(0, abs=0.1)
    assert np.square(found).mean() == pytest.approx(1, abs=0.05)


def test_labels_are_uniform_injections():
    _, _, places = drawn()
    assert (np.sort(places, 1) == np.arange(SLOTS)).all()
    counts = np.stack([np.bincount(column, minlength=SLOTS) for column in np.asarray(places).T])
    assert stats.chisquare(counts.ravel()).pvalue > 1e-3


@functools.cache
def contexts(held_out=False, **changes):
    """`(tasks, contexts, A, rho)` of some sequences."""
    one = task(**changes)

    def draw(key):
        key_task, key_context = jax.random.split(key)
        sampled = one.sample(key_task)
        return one.context(key_context, sampled, held_out=held_out), *one.drawn(sampled)

    return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 20))


@pytest.mark.parametrize(("held_out", "centred"), [(False, True), (True, False)])
def test_a_sequence_is_of_projected_examples_and_tells_the_label_before(held_out, centred):
    data = spots()
    part = data.held_out if held_out else data.train
    mean = data.train.inputs.mean(0 if centred else None)
    x = (part.inputs - mean) / (data.train.inputs - mean).std()
    context, projections, places = jax.tree.map(np.asarray, contexts(held_out, centred=centred))
    for i in range(len(projections)):
        images, labels = x @ projections[i].T, places[i][part.targets]
        far = np.abs(context.xs[i][:, None] - images[None]).max(-1)
        index = far.argmin(1)
        assert far.min(1).max() < 1e-4
        assert len(set(index.tolist())) == T
        np.testing.assert_array_equal(context.targets[i], labels[index])
        np.testing.assert_array_equal(context.ys_prev[i, 0], np.zeros(SLOTS))
        np.testing.assert_array_equal(context.ys_prev[i, 1:], np.eye(SLOTS)[context.targets[i, :-1]])


def test_a_sequence_may_be_of_a_few_classes():
    fewest = ProjectedClassification(spots(), 3, FEATURES, fewest=1)
    draw = jax.jit(jax.vmap(lambda key: fewest._examples(key, False)))
    index = np.asarray(draw(jax.random.split(jax.random.key(0), 3000)))
    labels = spots().train.targets[index]
    assert all(len(set(row)) == 3 for row in index.tolist())
    numbers = np.array([len(set(row)) for row in labels.tolist()])
    assert set(numbers) == {1, 2, 3}
    assert (numbers == 1).mean() > 1 / 3
    assert (numbers == 1).mean() == pytest.approx(1 / 3 * (1 + 1 / 4 + 1 / 9), abs=0.06)
    # the classes are equally likely, and so are the examples of a class where all classes are there
    assert np.bincount(labels[:, 0]).min() > 0.9 * 1000
    whole = jax.jit(jax.vmap(lambda key: task()._examples(key, False)))(jax.random.split(jax.random.key(1), 1000))
    assert stats.chisquare(np.bincount(np.asarray(whole)[:, 2], minlength=30)).pvalue > 1e-3


def test_a_finite_number_of_tasks_are_the_numbered_ones():
    one = task(num_tasks=3, pool=5)
    sampled, projections, places = drawn(60, num_tasks=3, pool=5)
    pool = [one.numbered(k) for k in range(3)]
    numbers = [[np.array_equal(words, p.words) for p in pool].index(True) for words in np.asarray(sampled.words)]
    assert set(numbers) == {0, 1, 2}
    for k, (matrix, place) in enumerate(map(one.drawn, pool)):
        i = numbers.index(k)
        # the polynomial of a normal number has some 15 terms of size one, rounded twice each
        assert_ulps(matrix, projections[i], ulps=30, scale=1.0)
        np.testing.assert_array_equal(place, places[i])
    assert not np.array_equal(pool[0].words, task(pool=6).numbered(0).words)


def test_infinitely_many_tasks_are_all_different_and_none_of_a_pool():
    words = {tuple(row) for row in np.asarray(drawn()[0].words)}
    assert len(words) == 400
    number = jax.jit(jax.vmap(lambda k: task(num_tasks=1).numbered(k).words))
    assert not words & {tuple(row) for row in np.asarray(number(jnp.arange(2**12)))}


def test_a_part_of_the_tasks_keeps_its_labels_in_place():
    sampled, _, places = drawn(num_tasks=1, in_place=0.75)
    kept = np.asarray(sampled.in_place)
    assert kept.mean() == pytest.approx(0.75, abs=0.1)
    assert (np.asarray(places)[kept] == np.arange(SLOTS)).all()
    words = np.asarray(sampled.words)
    assert len(np.unique(words[kept], axis=0)) == kept.sum(), "their projections are new"
    assert len(np.unique(words[~kept], axis=0)) == 1
    assert not np.asarray(drawn()[0].in_place).any()


def test_draws_are_distinct_uniform_and_in_random_order():
    draw = jax.jit(jax.vmap(lambda key: draw_distinct(key, 5, 3)))
    found = np.asarray(draw(jax.random.split(jax.random.key(0), 6000)))
    counts = np.unique(found @ [25, 5, 1], return_counts=True)[1]
    assert len(counts) == 5 * 4 * 3
    assert stats.chisquare(counts).pvalue > 1e-3
    np.testing.assert_array_equal(np.sort(draw_distinct(jax.random.key(0), 4, 4)), np.arange(4))


def test_examples_come_again_where_they_may():
    short = Dataset(*(Examples(part.inputs[:3], part.targets[:3]) for part in (spots().train, spots().held_out)), 3)
    context = ProjectedClassification(short, T, FEATURES, distinct=False).context
    one = ProjectedClassification(short, 3, FEATURES, distinct=False).sample(jax.random.key(0))
    xs = np.asarray(context(jax.random.key(1), one, held_out=True).xs)
    assert len(np.unique(xs, axis=0)) <= 3
    with pytest.raises(ValueError, match=r"6 distinct examples need as many of each part \(got 3\)"):
        ProjectedClassification(short, T, FEATURES)


def test_losses_are_per_position():
    outputs = jnp.log(jnp.array([[0.7, 0.1, 0.1, 0.1], [0.2, 0.2, 0.5, 0.1]]))
    loss, metrics = task().losses(task().numbered(0), outputs, jnp.array([0, 0]))
    np.testing.assert_allclose(loss, -np.log([0.7, 0.2]), rtol=1e-5)
    np.testing.assert_array_equal(metrics["accuracy"], [1, 0])


def test_no_key_is_used_twice(monkeypatch):
    one = task(num_tasks=3, in_place=0.5)
    sampled = keys.trace(monkeypatch, one.sample, jax.random.key(0))
    assert sampled.words.shape == (2,)
    keys.trace(monkeypatch, lambda key: one.context(key, task().numbered(1), held_out=False), jax.random.key(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 2}, "3 classes need as many slots"),
        ({"length": 11}, "11 distinct examples"),
        ({"fewest": 1}, "6 distinct examples need as many of each part .got [23]"),
        ({"fewest": 4}, "fewest must be in"),
        ({"length": 0}, "length must be at least 1"),
        ({"features": 0}, "features must be at least 1"),
        ({"num_tasks": 0}, "num_tasks must be in"),
        ({"in_place": 1.5}, r"in_place must be in \[0, 1\]"),
        ({"data": tasks.diabetes()}, r"one class per example \(got float32"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        ProjectedClassification(**{"data": spots(), "length": T, "slots": SLOTS} | changes)
