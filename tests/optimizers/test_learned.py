"""Learned optimizers: equality with optax and numpy, equivariance, keyword arguments of `update`, errors."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import optimizers as lo
from lopt.protocols import LearnedOptimizer
from lopt.types import Progress
from tests.reference.rules import RULES, as_optax, theta

KEY = jax.random.key(0)
for_rules = pytest.mark.parametrize("name", RULES)
rng = np.random.default_rng(0)
PARAMS = {"w": jnp.array(rng.normal(size=(3, 2)), jnp.float32), "b": jnp.array(rng.normal(size=2), jnp.float32)}
GRADIENTS = [jax.tree.map(lambda p: jnp.array(rng.normal(size=p.shape), p.dtype), PARAMS) for _ in range(2)]


@functools.cache
def stepped(name):
    """Updates and state after all gradients."""
    tx = as_optax(name)

    @jax.jit
    def run(params, gradients):
        state = tx.init(params)
        for g in gradients:
            updates, state = tx.update(g, state, params)
        return updates, state

    return run(PARAMS, GRADIENTS)


@for_rules
def test_a_rule_has_the_methods_hashes_and_is_initialised_from_its_key(name):
    rule = RULES[name]
    assert isinstance(rule, LearnedOptimizer) and isinstance(hash(rule), int)
    shapes = jax.eval_shape(rule.init, KEY)
    chex.assert_trees_all_equal_shapes_and_dtypes(theta(name), shapes)
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(shapes))


@for_rules
def test_theta_of_another_architecture_is_refused(name):
    rule, valid = RULES[name], theta(name)
    with pytest.raises(ValueError, match=f"{type(rule).__name__}: theta must be that of this architecture.*expected"):
        rule.as_optax({"other": jnp.zeros(3)})
    with pytest.raises(ValueError, match=rf"{type(rule).__name__}: theta.*\(got .*7.*, expected \("):
        rule.as_optax(jax.tree.map(lambda x: np.zeros((*x.shape, 7)), valid))


COUNTS = {lo.AdafactorRule(): 197, lo.OpenRule(): 1211, lo.OpenRule(recurrent=16, width=32): 3571, lo.MLPRule(): 1762}


@pytest.mark.parametrize("rule", COUNTS, ids=str)
def test_the_number_of_meta_parameters_is_that_of_the_papers(rule):
    assert sum(x.size for x in jax.tree.leaves(jax.eval_shape(rule.init, KEY))) == COUNTS[rule]


@pytest.mark.parametrize(
    ("rule", "reference"),
    [
        (lo.LearnableSGD(0.1, 0.9), optax.sgd(0.1, 0.9)),
        (lo.LearnableSGD(0.1), optax.sgd(0.1)),
        (lo.LearnableAdam(learning_rate=0.1, b1=0.8, b2=0.95, eps=1e-3), optax.adam(0.1, 0.8, 0.95, 1e-3)),
        (lo.FromOptax(lambda t: optax.adam(**t), (("learning_rate", 0.1),)), optax.adam(0.1)),
        (lo.FromOptax(lambda _: optax.sgd(0.1)), optax.sgd(0.1)),
    ],
    ids=["SGD with momentum", "SGD", "Adam", "from optax", "from optax, without theta"],
)
def test_learnable_hyperparameters_give_the_updates_of_optax(rule, reference):
    @functools.partial(jax.jit, static_argnums=0)
    def run(learnable):
        tx = rule.as_optax(rule.init(KEY)) if learnable else reference
        state = tx.init(PARAMS)
        out = []
        for g in GRADIENTS:
            updates, state = tx.update(g, state, PARAMS)
            out.append(updates)
        return out

    chex.assert_trees_all_close(run(True), run(False), rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("MLP", "OPEN") else pytest.mark.slow) for name in RULES]
)
def test_updates_are_equivariant_to_the_order_of_parameters(name):
    """Permuted rows give the permuted updates; the leaves stay in order, because OPEN uses their position."""
    tx, order = as_optax(name), np.array([2, 0, 1])

    @jax.jit
    def shuffled(params, gradients):
        def shuffle(tree):
            return tree | {"w": tree["w"][order]}

        state = tx.init(shuffle(params))
        for g in gradients:
            updates, state = tx.update(shuffle(g), state, shuffle(params))
        return updates

    got, expected = shuffled(PARAMS, GRADIENTS), stepped(name)[0]
    np.testing.assert_allclose(got["w"], np.asarray(expected["w"])[order], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got["b"], expected["b"], rtol=1e-4, atol=1e-6)
    assert len(np.unique(np.round(np.asarray(got["w"]), 7))) > 3


def numpy_mlp(net, x):
    layers = sorted(net)
    for layer in layers:
        x = x @ np.float64(net[layer]["kernel"]) + np.float64(net[layer]["bias"])
        x = np.maximum(x, 0) if layer != layers[-1] else x
    return x


def unit(x):
    """Features over one tensor, each with a mean square of one."""
    return x / np.sqrt(1e-5 + np.square(x).mean(tuple(range(x.ndim - 1)), keepdims=True))


def test_the_mlp_equals_numpy():
    momenta = {k: np.zeros((*p.shape, 6)) for k, p in PARAMS.items()}
    for t, g in enumerate(GRADIENTS):
        time = np.tanh(t / np.array(lo.features.TIME_SCALES) - 1)
        expected = {}
        for k, p in PARAMS.items():
            gradient = np.float64(g[k])[..., None]
            decays = np.array(lo.features.DECAYS)
            momenta[k] = decays * momenta[k] + (1 - decays) * gradient
            x = unit(np.concatenate([gradient, np.float64(p)[..., None], momenta[k]], -1))
            out = numpy_mlp(theta("MLP"), np.concatenate([x, np.broadcast_to(time, (*p.shape, 11))], -1))
            expected[k] = -0.1 * out[..., 0] * np.exp(0.1 * out[..., 1])
    chex.assert_trees_all_close(stepped("MLP")[0], expected, rtol=1e-4, atol=1e-5)


def test_the_adafactor_mlp_equals_numpy():
    """The first update of a matrix: all moments are those of one gradient."""
    g, p, rule = np.float64(GRADIENTS[0]["w"]), np.float64(PARAMS["w"]), RULES["Adafactor MLP"]
    tx = as_optax("Adafactor MLP")
    got, _ = jax.jit(tx.update)({"w": GRADIENTS[0]["w"]}, tx.init({"w": PARAMS["w"]}), {"w": PARAMS["w"]})
    weight = np.array([0.1, 0.01, 0.001])
    m, v = weight * g[..., None], 0.001 * g[..., None] ** 2
    rows, columns = (
        np.broadcast_to(weight * (g**2).mean(axis, keepdims=True)[..., None], (3, 2, 3)) for axis in (0, 1)
    )
    scale = 1 / np.sqrt(rows / rows.mean(1, keepdims=True) * columns)
    root = 1 / np.sqrt(v + 1e-6)
    inputs = [g[..., None], p[..., None], m, v, m * root, root, g[..., None] * scale, m * scale, rows, columns]
    inputs += [1 / np.sqrt(rows + 1e-8), 1 / np.sqrt(columns + 1e-8)]
    x = np.concatenate([unit(np.concatenate(inputs, -1)), np.full((3, 2, 11), np.tanh(-1))], -1)
    assert x.shape[-1] == 39
    out = numpy_mlp(theta("Adafactor MLP")["net"], x)
    expected = -rule.step_size * out[..., 0] * np.exp(rule.exponent * out[..., 1])
    np.testing.assert_allclose(got["w"], expected, rtol=1e-3, atol=1e-5)


def test_updates_of_open_have_mean_zero_over_all_parameters():
    updates = stepped("OPEN")[0]
    assert abs(sum(float(u.sum()) for u in jax.tree.leaves(updates))) < 1e-6
    assert max(float(jnp.abs(u).max()) for u in jax.tree.leaves(updates)) > 1e-3


OPEN_DEFAULTS = {
    "progress": Progress(jnp.int32(0), jnp.int32(10)),
    "batch_fraction": 0.0,
    "dormancy": {"w": jnp.ones((1, 2)), "b": jnp.ones(2)},
    "explore": {"w": 0.0, "b": 0.0},
    "key": KEY,
}
OPEN_CHANGES = {
    "progress": Progress(jnp.int32(5), jnp.int32(10)),
    "batch_fraction": 0.5,
    "dormancy": {"w": jnp.array([[0.0, 2.0]]), "b": jnp.ones(2)},
    "explore": {"w": 1.0, "b": 0.0},
    "key": KEY,
}


@functools.cache
def open_update():
    tx = as_optax("OPEN")
    return jax.jit(lambda extra: tx.update(GRADIENTS[0], tx.init(PARAMS), PARAMS, **extra)[0])


def test_missing_arguments_of_open_have_the_documented_defaults():
    """The first update without arguments equals that at progress 0, batch fraction 0, dormancy 1, without noise."""
    chex.assert_trees_all_close(open_update()(OPEN_DEFAULTS), open_update()({}), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("argument", ["progress", "batch_fraction", "dormancy", "explore"])
def test_open_depends_on_each_argument(argument):
    changed = open_update()(OPEN_DEFAULTS | {argument: OPEN_CHANGES[argument]})
    baseline = open_update()(OPEN_DEFAULTS)
    for name in PARAMS:
        assert (np.asarray(changed[name]) != np.asarray(baseline[name])).any()


def test_open_requires_a_key_for_exploration():
    with pytest.raises(ValueError, match="OpenRule: explore needs a key"):
        jax.eval_shape(open_update(), {"explore": {"w": 1.0, "b": 0.0}})


def test_without_progress_open_assumes_training_of_horizon_updates():
    short, long = (
        lo.OpenRule(recurrent=4, width=8, step_size=0.1, exponent=0.1, horizon=h).as_optax(theta("OPEN"))
        for h in (2, 1000)
    )
    state = short.init(PARAMS)._replace(count=jnp.int32(1))
    progress = Progress(jnp.int32(1), jnp.int32(2))
    by_horizon = jax.jit(short.update)(GRADIENTS[0], state, PARAMS)[0]
    by_progress = jax.jit(long.update)(GRADIENTS[0], state, PARAMS, progress=progress)[0]
    chex.assert_trees_all_close(by_horizon, by_progress, rtol=1e-6)


def test_the_hierarchical_rule_depends_on_loss_and_progress_and_is_finite_for_a_nan_loss():
    tx = as_optax("hierarchical")
    update = jax.jit(lambda **extra: tx.update(GRADIENTS[0], tx.init(PARAMS), PARAMS, **extra)[0])
    baseline, with_loss, with_nan = update(), update(value=jnp.float32(3.0)), update(value=jnp.float32(np.nan))
    with_progress = update(progress=Progress(jnp.int32(5), jnp.int32(10)))
    chex.assert_tree_all_finite(with_nan)
    for other in (with_loss, with_progress):
        assert (np.asarray(baseline["w"]) != np.asarray(other["w"])).all()


def test_lstm_preprocessing():
    g = jnp.array([np.e**-2, -1.0, np.e**-11, 0.0])
    expected = [[-0.2, 1], [0, -1], [-1, np.e**-1], [-1, 0]]
    np.testing.assert_allclose(lo.recurrent_rule.preprocess_gradient(g, 10.0), expected, atol=1e-5)
    slope = jax.jit(jax.grad(lambda g: lo.recurrent_rule.preprocess_gradient(g, 10.0).sum()))(g)
    assert np.isfinite(slope).all()


@for_rules
def test_integer_leaves_do_not_change_and_complex_ones_are_refused(name):
    tx = as_optax(name)
    params = {"w": PARAMS["w"], "n": jnp.array([2**30 + 1])}

    def step(params):
        grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2), allow_int=True)(params)
        return optax.apply_updates(params, tx.update(grads, tx.init(params), params)[0])

    after = jax.eval_shape(step, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, params)
    with pytest.raises(ValueError, match=f"{type(RULES[name]).__name__}: parameters must be real .got complex64"):
        tx.init({"z": jnp.zeros(2, jnp.complex64)})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: lo.MLPRule(hidden=(0,)), r"MLPRule: widths must be at least 1 \(got \(0,\)\)"),
        (lambda: lo.MLPRule(step_size=0.0), "MLPRule: step_size must be finite and above 0"),
        (lambda: lo.AdafactorRule(hidden=(4, -1)), "AdafactorRule: widths must be at least 1"),
        (lambda: lo.AdafactorRule(exponent=-1.0), "AdafactorRule: exponent must be finite and above 0"),
        (lambda: lo.HierarchicalRule(recurrent=0), "HierarchicalRule: widths must be at least 1"),
        (lambda: lo.OpenRule(horizon=0), "OpenRule: horizon must be finite and at least 1"),
        (lambda: lo.LSTMRule(layers=0), "LSTMRule: layers must be finite and at least 1"),
        (lambda: lo.LSTMRule(p=0.0), "LSTMRule: p must be finite and above 0"),
        (lambda: lo.LearnableSGD(learning_rate=0.0), "LearnableSGD: learning_rate must be finite and above 0"),
        (lambda: lo.LearnableSGD(momentum=1.0), "LearnableSGD: 1 - momentum must be finite and above 0"),
        (lambda: lo.LearnableAdam(b2=1.5), r"LearnableAdam: b2 must be finite and in \[0, 1\]"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize("make", [lo.MLPRule, lo.AdafactorRule])
def test_the_output_layer_is_initialised_ten_times_smaller(make):
    rule = make()
    nets = [rule.init(key) for key in jax.random.split(KEY, 20)]
    nets = [theta["net"] if "net" in theta else theta for theta in nets]
    *inner, output = sorted(nets[0])

    def scale(name):
        return np.std([net[name]["kernel"] for net in nets]) * np.shape(nets[0][name]["kernel"])[0] ** 0.5

    assert abs(scale(output) - 0.1) < 0.02
    assert all(abs(scale(name) - 1) < 0.15 for name in inner)
