"""The published rule Disco103: its file, its golden vectors, and files that are refused.

The weights are not part of this project: LOPT_DISCO_103 names the file (disco_103.npz of google-deepmind/disco_rl).
The golden vectors were computed with the published code.
"""

import json
import os
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from lopt.meta import TrainedRule
from lopt.objectives import DiscoRule
from lopt.rules.disco_103 import load_disco_103
from tests.reference.disco import golden_inputs

FILE = Path(os.environ.get("LOPT_DISCO_103") or "disco_103.npz")
needs_file = pytest.mark.skipif(not FILE.is_file(), reason="LOPT_DISCO_103 names no file of the weights of Disco103")

GOLDEN = json.loads(Path(__file__).parent.parent.joinpath("reference/disco_103.json").read_text())
"""Two updates of one lifetime, by the published code. Of y and z: the first four numbers, sum and standard deviation;
of the lifetime LSTM: the first four numbers and the norm; the loss is without that of the action values."""


def close(actual, expected):
    np.testing.assert_allclose(np.ravel(actual), np.ravel(expected), rtol=1e-3, atol=2e-5)


@needs_file
def test_golden_vectors():
    trained = lopt.load(FILE)
    rule, theta = trained.rule, trained.theta
    state = rule.initial_state({"x": jnp.zeros(3)})
    update = jax.jit(rule.targets)
    for shift, golden in zip((0.0, 0.1), GOLDEN, strict=True):
        inputs = golden_inputs(shift)
        targets, state = update(theta, state, {"x": jnp.ones(3)}, inputs)
        close(targets.policy, golden["policy"])
        for name in ("y", "z"):
            first, total, std = golden[name]
            logits = np.asarray(getattr(targets, name), np.float64)
            close(logits.ravel()[:4], first)
            close([logits.sum(), logits.std()], [total, std])
        close(targets.value, golden["value"])
        for name in ("hidden", "cell"):
            first, norm = golden[name]
            close(getattr(state, name)[:4], first)
            close(np.linalg.norm(getattr(state, name)), norm)
        moments = state.advantage
        np.testing.assert_allclose([moments.m1, moments.m2, moments.decay_product], golden["moments"], rtol=1e-3)
        close(state.target_params["x"], [golden["target_params"]] * 3)
        terms = rule.losses(inputs.out, inputs, targets)
        value = terms.pop("action_value")
        close(value, golden["value_loss"])
        close(sum(terms.values()), golden["loss"])
        close(terms["policy"].mean(), golden["policy_loss"])
        close(terms["auxiliary"].mean(), golden["auxiliary_loss"])


@needs_file
def test_the_file_is_the_published_rule():
    trained = lopt.load(FILE)
    assert isinstance(trained, TrainedRule) and trained.rule == DiscoRule()
    assert sum(x.size for x in jax.tree.leaves(trained.theta)) == 754_778


def test_a_file_without_the_hash_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not the published file .expected SHA-256 dac840a1"):
        lopt.load(write(tmp_path))
    trained = load_disco_103(write(tmp_path), sha256=None)
    assert (trained.rule.prediction_size, trained.rule.hidden, trained.rule.lifetime_hidden) == (7, 6, 4)
    assert trained.rule.embedding == 5


def published_form():
    """Arrays with the names of the published file: M = 7 predictions, H = 6, G = 4, embeddings of width 5."""
    m, h, g, e = 7, 6, 4, 5
    sizes = {
        "lstm/linear": (g, h),
        "lstm/linear_1": (h, 1),
        "lstm/linear_2": (h, m),
        "lstm/linear_3": (h, m),
        "lstm/linear_4": (16, 1),
        "lstm/sequential_1/conv1_d": (1, 2 * (h + 2), 16),
        "lstm/lstm/linear": (27 + h, 4 * h),
        "lstm/~/meta_lstm/~unroll/lstm/linear": (16 + g, 4 * g),
        "lstm/~/meta_lstm/~unroll/mlp_2/~/linear_0": (29, 16),
    }
    for scope in ("lstm", "lstm/~/meta_lstm/~unroll"):
        for mlp in ("mlp", "mlp_1"):
            sizes |= {f"{scope}/{mlp}/~/linear_0": (m, e), f"{scope}/{mlp}/~/linear_1": (e, 1)}
        sizes |= {f"{scope}/sequential/conv1_d": (1, 18, 16), f"{scope}/sequential/conv1_d_1": (1, 32, 2)}
    rng = np.random.default_rng(0)
    arrays = {f"{layer}/w": rng.normal(size=shape) for layer, shape in sizes.items()}
    arrays |= {f"{layer}/b": rng.normal(size=shape[-1]) for layer, shape in sizes.items()}
    return {name: x.astype(np.float32) for name, x in arrays.items()}


def write(tmp_path, **changes):
    """A file with the names of the published one; `changes` are arrays, None to leave one out."""
    arrays = {k: v for k, v in (published_form() | changes).items() if v is not None}
    np.savez(tmp_path / "weights.npz", **arrays)
    return tmp_path / "weights.npz"


def test_the_gates_of_the_lstm_keep_their_meaning(tmp_path):
    """One step with haiku's formulas equals a step with the converted weights."""
    from lopt.nets import lstm_step

    arrays = published_form()
    theta = load_disco_103(write(tmp_path), sha256=None).theta["trajectory"]
    w, b = (arrays[f"lstm/lstm/linear/{name}"].astype(np.float64) for name in "wb")
    rng = np.random.default_rng(1)
    x, h, c = rng.normal(size=27), rng.normal(size=6), rng.normal(size=6)
    i, g, f, o = np.split(np.concatenate([x, h]) @ w + b, 4)

    def sigmoid(a):
        return 1 / (1 + np.exp(-a))

    cell = sigmoid(f + 1) * c + sigmoid(i) * np.tanh(g)
    weights = tuple(theta[name] for name in ("input", "state", "bias"))
    x, h, c = (jnp.array(a, jnp.float32) for a in (x, h, c))
    new_h, new_c = lstm_step(weights, x, (h, c))
    np.testing.assert_allclose(new_c, cell, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new_h, sigmoid(o) * np.tanh(cell), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lstm/linear/w": None}, "no file of DiscoRL's weights .expected 42 arrays, among them lstm/linear/w"),
        ({"other": np.zeros(3, np.float32)}, "arrays that Disco103 does not have: other"),
        (
            {"lstm/linear_4/w": np.zeros((3, 1), np.float32)},
            r"other shapes.*pi_hat/kernel must be \(16, 1\) \(got \(3, 1\)",
        ),
        ({"lstm/linear/w": np.zeros((4,), np.float32)}, r"lstm/linear/w must be a matrix \(got shape \(4,\)"),
        ({"lstm/linear_4/b": np.zeros(1)}, "lstm/linear_4/b .* must be float32 .got float64"),
    ],
)
def test_foreign_arrays_are_refused(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        lopt.load(write(tmp_path, **changes))


def test_damaged_files_are_refused(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cannot be read; it is damaged"):
        lopt.load(path)


@needs_file
def test_a_changed_byte_is_found(tmp_path):
    copy = tmp_path / "disco_103.npz"
    shutil.copyfile(FILE, copy)
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(bytes(data))
    with pytest.raises(ValueError, match="cannot be read|is not the published file"):
        lopt.load(copy)
