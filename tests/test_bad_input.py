"""Invalid arguments of public functions raise a ValueError with the value given and the one expected."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest

import lopt
from lopt import objectives as lobj
from lopt import optimizers as lo
from lopt.objectives import A2C, DPO, LPG, LPO, Clip, FractionAndLogNumUpdates, LPGRegulariser

NAN = float("nan")
PARAMS = {"w": jnp.ones(2)}
INTS = {"w": jnp.ones(2, jnp.int32)}
SGD = "def train(w, g, lr): return g * lr"
ADAM = lo.LearnableAdam()


def adam(params, gradients):
    """One update of a learned optimizer."""
    tx = ADAM.as_optax(ADAM.init(jax.random.key(0)))
    return tx.update(gradients, tx.init(params), params)


def ones(*shape):
    return jnp.ones(shape)


BAD = {
    "lion(None)": (lambda: lopt.lion(None), r"learning_rate must be a number, an array or a schedule \(got None\)"),
    "lion(nan)": (lambda: lopt.lion(NAN), r"learning_rate must be finite and above 0 \(got nan\)"),
    "lion of text": (lambda: lopt.lion("0.1"), r"learning_rate must be a number, .* \(got '0.1'\)"),
    "lion(optax.adam)": (lambda: lopt.lion(optax.adam), "must be a schedule, .* which gives a GradientTransf"),
    "a schedule's factory": (lambda: lopt.lion(optax.cosine_decay_schedule), "must be a schedule, a function of the"),
    "a schedule of vectors": (lambda: lopt.lion(lambda count: ones(2)), "from the count to a number"),
    "an array of booleans": (lambda: lopt.lion(jnp.array(True)), "learning_rate must be a number"),
    "no decay": (lambda: lopt.lion(weight_decay=None), "weight_decay must be a number, an array or a schedule"),
    "a beta of text": (lambda: lopt.lion(b1="0.9"), r"b1 must be a number or an array \(got '0.9'\)"),
    "a beta by schedule": (lambda: lopt.scale_by_lion(b2=lambda count: 0.9), "b2 must be a number or an array"),
    "lion_k(L2)": (lambda: lopt.lion_k(lo.L2), r"Lion-K: kernel must be an instance, such as L2\(\)"),
    "lion_k(NewtonSchulz())": (lambda: lopt.lion_k(lo.NewtonSchulz()), r"polar=NewtonSchulz\(\).*got NewtonSchulz"),
    "PerLeaf(L2)": (lambda: lo.PerLeaf(lo.L2), r"PerLeaf: kernel must be an instance, such as L2\(\)"),
    "cautious(3.0)": (lambda: lopt.cautious(3.0), r"inner must be an optax transformation.*got 3.0"),
    "cautious(optax.adam)": (lambda: lopt.cautious(optax.adam), "inner must be an optax transformation.*got <func"),
    "kkt_gap without kernel": (lambda: lopt.kkt_gap(PARAMS, PARAMS, 1.0, None), "kkt_gap: kernel must .*got None"),
    "kkt_gap without decay": (lambda: lopt.kkt_gap(PARAMS, PARAMS, None, lo.L1()), "weight_decay must be a number"),
    "from_program(None)": (
        lambda: lopt.from_program(SGD, None),
        "from_program: learning_rate must be a number, an array or a schedule",
    ),
    "integer parameters": (lambda: adam(INTS, INTS), r"LearnableAdam: .* must be floating \(got int32\)"),
    "gradients of integers": (
        lambda: adam(INTS | {"b": ones()}, {"w": ones(2), "b": ones()}),
        r"parameters that have gradients must be floating \(got int32\)",
    ),
    "clip_drift(nan)": (lambda: lopt.clip_drift(NAN), r"Clip: epsilon must be positive \(got nan\)"),
    "dpo_drift(nan)": (lambda: lopt.dpo_drift(NAN), r"DPO: alpha must be positive \(got nan\)"),
    "dpo_drift, beta": (lambda: lopt.dpo_drift(beta=NAN), r"DPO: beta must be positive \(got nan\)"),
    "bind_drift(DPO)": (lambda: lopt.bind_drift(DPO), "bind_drift: drift must be a Drift, such as"),
    "bind_drift of a function": (lambda: lopt.bind_drift(lopt.dpo_drift()), "drift must be a Drift, such as"),
    **{f"LPO, {name}": (lambda name=name: LPO(**{name: NAN}), f"LPO: {name} must be") for name in ("xi", "init_scale")},
    "LPO, hidden": (lambda: LPO(hidden=NAN), "LPO: hidden must be at least 1"),
    "LPG, hidden": (lambda: LPG(hidden=NAN), "LPG: hidden must be at least 1"),
    "LPG, alpha_y": (lambda: LPG(alpha_y=float("inf")), "LPG: alpha_y must not be negative, and must be finite"),
    "A2C, value_weight": (lambda: A2C(value_weight=NAN), "A2C: value_weight must be finite"),
    "A2C, gamma": (lambda: A2C(gamma=NAN), "A2C: gamma must be in"),
    "PPO, lam": (lambda: lobj.PPO(lam=NAN), "PPO: lam must be in"),
    "LPGRegulariser": (lambda: LPGRegulariser(pi_hat_l2=NAN), r"LPGRegulariser: pi_hat_l2 must be finite \(got nan\)"),
    "a reference of NaN": (lambda: FractionAndLogNumUpdates(NAN), "reference must be positive"),
    "ppo_loss broadcasting": (
        lambda: lopt.ppo_loss(ones(4), ones(4), ones(4, 1)),
        r"one shape \(got log_prob \(4,\), old_log_prob \(4,\), advantage \(4, 1\)\)",
    ),
    "ppo_loss, where": (lambda: lopt.ppo_loss(*[ones(4)] * 3, where=ones(1) > 0), r"where \(1,\)"),
    "ppo_loss with DPO()": (
        lambda: lopt.ppo_loss(*[ones(4)] * 3, DPO()),
        r"function, such as lopt.dpo_drift\(\) or lopt.bind_drift\(DPO\(\)\) \(got DPO",
    ),
    "ppo_loss with 0.2": (lambda: lopt.ppo_loss(*[ones(4)] * 3, 0.2), r"drift must be a function.*got 0.2"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_invalid_arguments_raise(call, message, monkeypatch):
    """As users call it: without the type checks of the test suite, which would raise first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


RATES = [
    0.1,
    np.float32(0.1),
    jnp.float32(0.1),
    lambda count: 0.1,
    optax.linear_schedule(0.0, 0.1, 10),
    lambda count: 0.1 if count < 3 else 0.01,  # cannot be traced
]


@pytest.mark.parametrize("rate", RATES)
def test_numbers_arrays_and_schedules_are_learning_rates(rate):
    for tx in (lopt.lion(rate, weight_decay=rate), lopt.from_program(SGD, rate)):
        updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS)
        assert np.isfinite(updates["w"]).all()


def with_injected_hyperparams(rate, compiled, **others):
    """The parameters after three updates."""
    tx = optax.inject_hyperparams(lopt.lion)(learning_rate=rate, **others)
    update = jax.jit(tx.update) if compiled else tx.update
    params = {"w": jnp.array([1.0, -2.0])}
    state = jax.jit(tx.init)(params) if compiled else tx.init(params)
    for _ in range(3):
        updates, state = update(jax.tree.map(lambda x: x + 0.5, params), state, params)
        params = optax.apply_updates(params, updates)
    return params["w"]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rate", [0.1, lambda count: 0.1 + 0.0 * count], ids=["number", "schedule"])
def test_hyperparameters_can_be_injected(rate, compiled):
    """Three steps of size 0.1 along - sign(x + 0.5)."""
    np.testing.assert_allclose(with_injected_hyperparams(rate, compiled, weight_decay=0.0), [0.7, -1.7], rtol=1e-5)
    np.testing.assert_allclose(
        with_injected_hyperparams(rate, compiled, b1=0.9, weight_decay=1.0), [0.458, -1.187], rtol=1e-5
    )


def test_traced_numbers_are_learning_rates():
    def step(rate, decay, b1):
        tx = lopt.lion(rate, b1, weight_decay=decay)
        return tx.update(PARAMS, tx.init(PARAMS), PARAMS)[0]["w"]

    np.testing.assert_allclose(jax.jit(step)(0.1, 0.5, 0.9), [-0.15, -0.15], rtol=1e-6)
    assert jax.vmap(partial(step, decay=0.5, b1=0.9))(jnp.array([0.1, 0.2])).shape == (2, 2)


def test_integer_parameters_are_not_updated():
    params = {"n": jnp.array([3]), "w": ones(2)}
    gradients = jax.grad(lambda p: jnp.sum(p["w"] ** 2), allow_int=True)(params)
    updates, _ = adam(params, gradients)
    assert optax.apply_updates(params, updates)["n"] == 3
    assert bool((updates["w"] < 0).all())


def test_valid_drifts_are_accepted():
    for drift in (Clip(0.1), DPO(1.0, 0.3)):
        assert lopt.bind_drift(drift)(ones(3), ones(3)).shape == (3,)
