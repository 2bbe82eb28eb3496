"""The in-context classifier: predictions, invariances, rule files, and invalid arguments."""

import functools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.incontext import Classifier, Transformer
from lopt.rules import Card, describe, save_rule
from tests.reference.ulps import assert_ulps

SIZES = {"inputs": 6, "targets": 4, "outputs": 4, "positions": 8, "width": 4, "layers": 1, "heads": 1}
XS, YS = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32), np.array([0, 1, 2, 1, 0])


@dataclass(frozen=True)
class Attention:
    """One attention head with fixed weights: labels of examples near the query, weighted by a Gaussian kernel."""

    inputs: int = 50
    targets: int = 4
    outputs: int = 4

    def init(self, key):
        return {"sharpness": jnp.float32(0.3)}

    def state_size(self, length):
        return length * (self.inputs + self.targets)

    def apply(self, theta, xs, ys_prev):
        labels = jnp.concatenate([ys_prev[1:], jnp.zeros((1, self.targets))])
        distance = jnp.square(xs[:, None] - xs[None]).sum(-1)
        weights = jnp.tril(jnp.exp(-theta["sharpness"] * distance), -1)
        return jnp.log(weights @ labels + 1e-9)


@functools.cache
def learner():
    return Classifier(model=Attention(), theta=Attention().init(None), length=8)


def test_predictions_do_not_depend_on_slots_and_projections():
    rng = np.random.default_rng(1)
    ys = np.arange(6) % 3
    xs = 5 + 4 * np.eye(3, 9)[ys] + 0.1 * rng.normal(size=(6, 9))
    probabilities = np.asarray(learner().predict(xs, ys, 5 + 4 * np.eye(3, 9)))
    assert probabilities.shape == (3, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (probabilities.argmax(1) == np.arange(3)).all() and probabilities.max(1).min() > 0.8


def test_predictions_are_invariant_to_affine_inputs_and_depend_on_the_seed():
    predicted = learner().predict(XS, YS, XS[:2])
    np.testing.assert_allclose(learner().predict(100 * XS + 7, YS, 100 * XS[:2] + 7), predicted, rtol=0.05, atol=0.01)
    one = learner().predict(XS, YS, XS[0])
    assert one.shape == (1, 3)
    np.testing.assert_allclose(one[0], predicted[0], rtol=1e-4, atol=1e-6)
    assert (np.asarray(learner().predict(XS, YS, XS[:2], seed=1)) != np.asarray(predicted)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ys": YS[:4]}, r"expected xs \[n, ...\], ys \[n\]"),
        ({"query": np.ones((2, 3, 2))}, "expected xs"),
        ({"xs": np.ones((0, 3)), "ys": np.ones(0, int), "query": np.ones(3)}, "n at least 1"),
        ({"ys": YS + 0.5}, "integers from 0"),
        ({"ys": YS - 1}, "integers from 0"),
        ({"ys": YS + 2}, r"4 slots for classes \(got classes up to 4\)"),
        ({"xs": np.ones((8, 3)), "ys": np.ones(8, int), "query": np.ones(3)}, "sequences of 7 examples and a query"),
        ({"draws": 0}, "draws must be at least 1"),
    ],
)
def test_invalid_arguments_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        learner().predict(**{"xs": XS, "ys": YS, "query": XS[:2]} | changes)


def test_model_with_different_output_and_target_widths_raises():
    with pytest.raises(ValueError, match="outputs must be as wide as its targets"):
        Classifier(model=Transformer(**SIZES | {"outputs": 3}), theta={}, length=8)


def test_loaded_rule_predicts_like_the_saved_one(tmp_path):
    model = Transformer(**SIZES)
    theta = jax.jit(model.init)(jax.random.key(0))
    config = {"model": describe(model), "length": 8}
    save_rule(tmp_path / "rule", jax.device_get(theta), Card("lopt.incontext.Classifier", config))
    loaded = lopt.load(tmp_path / "rule")
    assert loaded.model == model and loaded.length == 8
    predicted = loaded.predict(XS, YS, XS[:2], draws=2)
    # two compiled programs: sums of fewer than 64 terms
    assert_ulps(predicted, Classifier(model=model, theta=theta, length=8).predict(XS, YS, XS[:2], draws=2), ulps=64)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (Card("lopt.incontext.Oracle"), "this lopt has no 'lopt.incontext.Oracle'"),
        (Card("lopt.incontext.Classifier", {"model": {"kind": "lopt.incontext.Mamba"}, "length": 8}), "Mamba"),
        (Card("lopt.incontext.Classifier", {"model": {"kind": "lopt.incontext.GRU", "config": {"depth": 2}}}), "depth"),
        (Card("lopt.incontext.Classifier", {"model": {"kind": "lopt.incontext.GRU"}, "length": 8}), "must have its"),
    ],
)
def test_unknown_rules_raise(tmp_path, card, message):
    save_rule(tmp_path / "rule", {"x": np.ones(1)}, card)
    with pytest.raises(ValueError, match=message):
        lopt.load(tmp_path / "rule")
