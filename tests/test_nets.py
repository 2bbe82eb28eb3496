"""Networks compared with NumPy loops, and the inputs that each output depends on."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt import nets
from lopt.types import PlaneObs, TabularObs
from tests.reference import naive

T, B, F, H = 5, 3, 2, 4
RECURRENCES = {
    "gru": (nets.ReverseGRU(H), naive.reverse_gru, {"input": (F, 12), "state": (H, 12)}),
    "lstm": (nets.ReverseLSTM(H), naive.reverse_lstm, {"input": (F, 16), "state": (H, 16)}),
}
for_recurrences = pytest.mark.parametrize("name", RECURRENCES)


def batch(name, seed=0):
    """`(module, reference, params, x, reset)` in double precision, with non-zero biases."""
    module, reference, shapes = RECURRENCES[name]
    shapes |= {"bias": shapes["input"][1:]} | ({"bias_candidate": (H,)} if name == "gru" else {})
    rng = np.random.default_rng(seed)
    params = {k: rng.normal(size=shape) for k, shape in shapes.items()}
    return module, reference, params, rng.normal(size=(T, B, F)), rng.random((T, B)) < 0.3


@for_recurrences
def test_recurrence_equals_a_loop_and_shares_its_weights_under_vmap(name):
    module, reference, params, x, reset = batch(name)
    with jax.enable_x64(True):

        def total(params, x, reset):
            h = module.apply({"params": params}, x, reset)
            return (h**2).sum(), h

        (_, h), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params, x, jnp.array(reset))
        np.testing.assert_allclose(h, reference(params, x, reset), rtol=1e-12)
        # the gradients of single sequences, as under a vmap over agents, sum to the gradient of the batch
        per_sequence = jax.vmap(jax.grad(total, has_aux=True), (None, 1, 1))
        many, _ = jax.jit(per_sequence)(params, x[:, :, None], jnp.array(reset)[:, :, None])
    chex.assert_trees_all_close(grads, jax.tree.map(lambda g: np.asarray(g).sum(0), many), rtol=1e-10)


@for_recurrences
def test_an_output_depends_on_its_own_and_later_steps_of_its_episode(name):
    module, _, params, x, _ = batch(name)
    reset = np.array([0, 1, 0, 0, 1], bool)[:, None]
    with jax.enable_x64(True):
        jacobian = jax.jacrev(lambda x: module.apply({"params": params}, x, jnp.array(reset))[:, 0].sum(-1))
        depends = np.abs(jax.jit(jacobian)(x[:, :1])).sum((2, 3)) != 0
    expected = [[t <= s and not reset[t:s].any() for s in range(T)] for t in range(T)]
    np.testing.assert_array_equal(depends, expected)


@for_recurrences
def test_recurrence_is_initialised_with_orthogonal_blocks(name):
    module, _, params, x, reset = batch(name)
    initial = jax.jit(module.init)(jax.random.key(0), jnp.array(x, jnp.float32), jnp.array(reset))["params"]
    assert {k: v.shape for k, v in initial.items()} == {k: v.shape for k, v in params.items()}
    for block in np.split(np.asarray(initial["state"]), initial["state"].shape[1] // H, -1):
        np.testing.assert_allclose(block.T @ block, np.eye(H), atol=1e-5)
    blocks = np.split(np.asarray(initial["state"]), initial["state"].shape[1] // H, -1)
    assert not np.allclose(blocks[0], blocks[1])


@pytest.mark.parametrize("vmapped", [False, True], ids=["batch", "vmapped"])
def test_reverse_gru_has_the_gradient_of_its_formula(vmapped):
    """Compared with automatic differentiation of an unrolled loop, in all arguments, also under vmap."""

    def unrolled(x, reset, wi, bi, wh, bn):
        h, states = jnp.zeros((x.shape[1], H)), []
        for t in reversed(range(T)):
            h = jnp.where(reset[t][:, None], 0.0, h)
            (xr, xz, xn), (hr, hz, hn) = jnp.split(x[t] @ wi + bi[None], 3, -1), jnp.split(h @ wh, 3, -1)
            r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
            h = (1 - z) * jnp.tanh(xn + r * (hn + bn[None])) + z * h
            states.insert(0, h)
        return jnp.stack(states)

    _, _, params, x, reset = batch("gru")
    weights = tuple(params[name] for name in ("input", "bias", "state", "bias_candidate"))
    cotangent = np.random.default_rng(1).normal(size=(T, B, H))
    with jax.enable_x64(True):

        @partial(jax.jit, static_argnums=0)
        def value_and_vjp(f, x, *weights):
            def apply(x, *weights):
                if not vmapped:
                    return f(x, jnp.array(reset), *weights)
                mapped = jax.vmap(lambda x, reset: f(x[:, None], reset[:, None], *weights)[:, 0], 1, 1)
                return mapped(x, jnp.array(reset))

            out, vjp = jax.vjp(apply, x, *weights)
            return out, vjp(jnp.asarray(cotangent))

        chex.assert_trees_all_close(
            value_and_vjp(nets.reverse_gru, x, *weights), value_and_vjp(unrolled, x, *weights), rtol=1e-10
        )


def test_tabular_is_a_linear_map_of_the_one_hot_state():
    num_states, features = 300, 8
    net = nets.Tabular(num_states, features)
    index, time = np.array([7, 7, 299, 0]), np.array([0.1, 0.0, 2.0, -1.0], np.float32)
    obs = TabularObs(jnp.array(index), jnp.array(time))
    params = jax.jit(net.init)(jax.random.key(0), jax.tree.map(lambda x: x[0], obs))["params"]
    weights = np.concatenate([params["rows"], params["time"][None]])
    assert np.std(weights) == pytest.approx((num_states + 1) ** -0.5, rel=0.1)

    def total(params):
        out = jax.vmap(lambda o: net.apply({"params": params}, o))(obs)
        return (out * jnp.arange(1.0, 9.0)[None]).sum(), out

    (_, out), grads = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    one_hot = np.concatenate([np.eye(num_states)[index], time[:, None]], 1)
    np.testing.assert_allclose(out, one_hot @ weights, rtol=1e-5, atol=1e-6)
    expected = one_hot.T @ np.broadcast_to(np.arange(1.0, 9.0), (4, 8))
    np.testing.assert_allclose(np.concatenate([grads["rows"], grads["time"][None]]), expected, rtol=1e-6)


@pytest.mark.parametrize("net", [nets.MLP((6,), 3), nets.Conv((4,), (6,), 3)], ids=["mlp", "conv"])
def test_networks_depend_on_every_leaf_of_an_observation(net):
    rng = np.random.default_rng(0)
    obs = PlaneObs(jnp.array(rng.normal(size=(4, 5, 2)), jnp.float32), jnp.float32(0.5))

    @jax.jit
    def input_jacobian(key):
        params = net.init(key, obs)
        return jax.jacrev(lambda o: net.apply(params, o))(obs)

    jacobian = input_jacobian(jax.random.key(1))
    chex.assert_shape(jacobian.planes, (3, 4, 5, 2))
    assert (np.abs(jacobian.planes).max(0) > 0).mean() > 0.9
    assert (np.abs(jacobian.time) > 0).all()


def test_mlp_accepts_tabular_observations():
    obs = TabularObs(jnp.int32(2), jnp.float32(0.5))
    out, _ = jax.jit(lambda key: nets.MLP((4,), 3).init_with_output(key, obs))(jax.random.key(0))
    chex.assert_shape(out, (3,))
    assert out.dtype == jnp.float32


def test_gaussian_policy_with_ppos_network():
    orthogonal = jax.nn.initializers.orthogonal
    mean = partial(nets.MLP, (8, 8), activation=jnp.tanh, hidden_init=orthogonal(2**0.5), output_init=orthogonal(0.01))
    net = nets.GaussianPolicy(mean, 2, log_std=-0.5)
    obs = jnp.array([0.3, -1.0, 2.0])
    policy, params = jax.jit(lambda key: net.init_with_output(key, obs))(jax.random.key(0))
    np.testing.assert_array_equal(policy.log_std, np.full(2, -0.5, np.float32))
    layers = params["params"]["MLP_0"]
    x = np.asarray(obs)
    for name, scale in (("Dense_0", 2**0.5), ("Dense_1", 2**0.5), ("Dense_2", 0.01)):
        kernel = np.asarray(layers[name]["kernel"])
        gram = kernel.T @ kernel if kernel.shape[0] >= kernel.shape[1] else kernel @ kernel.T
        np.testing.assert_allclose(gram, scale**2 * np.eye(len(gram)), atol=1e-5)
        x = x @ kernel
        x = np.tanh(x) if name != "Dense_2" else x
    np.testing.assert_allclose(policy.mean, x, rtol=1e-4, atol=1e-6)


def test_orthogonal_matrices_of_many_networks_are_factored_one_by_one():
    """Batched QR decompositions side by side can block each other on two threads."""
    keys = jax.random.split(jax.random.key(0), 3)

    def init(key):
        return nets.orthogonal(0.5)(key, (4, 2))

    reference = jax.nn.initializers.orthogonal(0.5)
    expected = np.stack([reference(key, (4, 2)) for key in keys])
    np.testing.assert_allclose(jax.jit(jax.vmap(init))(keys), expected, rtol=1e-5, atol=1e-6)
    assert factored_shapes(init, keys) == {"4x2"}
    assert factored_shapes(lambda key: reference(key, (4, 2)), keys) == {"3x4x2"}


def factored_shapes(init, keys):
    """The shapes of the arrays whose QR decomposition the initialisation of many networks computes."""
    text = jax.jit(jax.vmap(init)).lower(keys).as_text()
    return set(re.findall(r"custom_call @\w*geqrf\w*\(.*\(tensor<([\dx]+)xf32>", text))
