"""Laws of every in-context learner."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import incontext
from lopt.protocols import SequenceModel
from tests.reference import keys

KEY = jax.random.key(0)
T, INPUTS, TARGETS, OUTPUTS = 5, 3, 2, 4
SIZES = {"inputs": INPUTS, "targets": TARGETS, "outputs": OUTPUTS}

MODELS = {
    "Transformer": lambda: incontext.Transformer(**SIZES, positions=6, width=8, heads=2),
    "Transformer, one head with its own key size": lambda: incontext.Transformer(
        **SIZES, positions=T, width=6, layers=1, heads=1, key_size=5
    ),
    "linear attention": lambda: incontext.LinearAttention(**SIZES, width=8, heads=2),
    "fast weights": lambda: incontext.FastWeights(**SIZES, width=8, heads=2, layers=1),
    "LSTM": lambda: incontext.LSTM(**SIZES, width=6, layers=2),
    "GRU": lambda: incontext.GRU(**SIZES, width=6),
    "LSTM of outer products": lambda: incontext.OuterProductLSTM(**SIZES, width=5),
    "VSML": lambda: incontext.VSML(inputs=INPUTS, targets=OUTPUTS, outputs=OUTPUTS, slow_size=4, message_size=3),
}
for_models = pytest.mark.parametrize("name", MODELS)


@functools.cache
def parts(name):
    """`(model, theta)` with random theta, because parts of it may be initialised at zero."""
    model = MODELS[name]()
    leaves, structure = jax.tree.flatten(jax.jit(model.init)(KEY))
    rng = np.random.default_rng(0)
    drawn = [jnp.asarray(x + 0.3 * rng.normal(size=x.shape), jnp.float32) for x in leaves]
    return model, jax.tree.unflatten(structure, drawn)


@functools.cache
def jitted(name):
    """The outputs, and their derivatives with respect to theta, xs and ys_prev; `[T, F, ...]`."""
    model = parts(name)[0]

    def outputs_and_derivatives(theta, xs, ys_prev):
        outputs, pull = jax.vjp(model.apply, theta, xs, ys_prev)
        basis = jnp.eye(T * OUTPUTS).reshape(T, OUTPUTS, T, OUTPUTS)
        return outputs, *jax.vmap(jax.vmap(pull))(basis)

    return jax.jit(outputs_and_derivatives)


def sequence(name, seed=0):
    model, rng = parts(name)[0], np.random.default_rng(seed)
    return tuple(rng.normal(size=(T, size)).astype(np.float32) for size in (model.inputs, model.targets))


@for_models
def test_model_has_the_methods_and_hashes(name):
    model = parts(name)[0]
    assert isinstance(model, SequenceModel)
    assert hash(model) == hash(MODELS[name]()) and model == MODELS[name]()


@for_models
def test_no_output_depends_on_later_inputs_or_on_its_own_label(name):
    """ys_prev[t] holds the label before t, so an output that read its own label would read ys_prev[t + 1]."""
    _, theta = parts(name)
    outputs, _, by_xs, by_ys = jitted(name)(theta, *sequence(name))
    chex.assert_shape(outputs, (T, OUTPUTS))
    assert np.isfinite(outputs).all()
    for gradients in (by_xs, by_ys):  # [T outputs, F, T inputs, width]
        dependence = np.abs(gradients).sum((1, 3))
        assert (dependence[np.triu_indices(T, 1)] == 0).all()
        assert (dependence[np.tril_indices(T)] > 0).all(), "an output does not depend on earlier examples"


@for_models
def test_outputs_depend_on_every_leaf_of_theta(name):
    _, theta = parts(name)
    for path, leaf in jax.tree.leaves_with_path(jitted(name)(theta, *sequence(name))[1]):
        assert np.isfinite(leaf).all() and np.abs(leaf).sum() > 0, jax.tree_util.keystr(path)


@for_models
def test_outputs_of_a_prefix_are_a_prefix_of_the_outputs(name):
    model, theta = parts(name)
    xs, ys_prev = sequence(name)
    whole = jitted(name)(theta, xs, ys_prev)[0]
    part = jax.jit(model.apply)(theta, xs[:2], ys_prev[:2])
    np.testing.assert_allclose(part, whole[:2], rtol=1e-4, atol=1e-5)


@for_models
def test_vmap_equals_a_loop(name):
    model, theta = parts(name)
    batch = [np.stack(x) for x in zip(sequence(name, 0), sequence(name, 1), strict=True)]
    batched = jax.jit(jax.vmap(model.apply, (None, 0, 0)))(theta, *batch)
    separate = [jitted(name)(theta, *sequence(name, seed))[0] for seed in (0, 1)]
    np.testing.assert_allclose(batched, np.stack(separate), rtol=1e-4, atol=1e-5)


@for_models
def test_theta_can_be_saved_and_depends_on_the_key(name, monkeypatch):
    model = parts(name)[0]
    keys.trace(monkeypatch, model.init, KEY)
    init = jax.jit(model.init)
    theta, other = init(KEY), init(jax.random.key(1))
    assert all(
        isinstance(entry, jax.tree_util.DictKey) for path, _ in jax.tree.leaves_with_path(theta) for entry in path
    )
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (theta, other)), strict=True))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(theta))


@for_models
def test_the_state_size_does_not_decrease_with_the_length(name):
    model = parts(name)[0]
    assert 0 < model.state_size(1) <= model.state_size(2)


@for_models
def test_vectors_of_another_width_are_an_error(name):
    model, theta = parts(name)
    xs, ys_prev = map(jnp.asarray, sequence(name))
    with pytest.raises(ValueError, match=r"expected xs \[T, 3\] and ys_prev \[T, "):
        model.apply(theta, xs[:, :2], ys_prev)
    with pytest.raises(ValueError, match="expected xs"):
        model.apply(theta, xs, ys_prev[:, :1])
