"""Disco103: the rule that DiscoRL's authors published, from their file of weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from lopt.meta import TrainedRule
from lopt.objectives import DiscoRule
from lopt.rules.rule import read_arrays
from lopt.types import Theta

SHA256 = "dac840a15b81e8805326363458c33979626172618f620d9e6e170315388530aa"
"""Of the published file disco_103.npz (github.com/google-deepmind/disco_rl, disco_rl/update_rules/weights)."""

LIFETIME = "lstm/~/meta_lstm/~unroll"
DENSE = {
    "lstm/linear": "gate",
    "lstm/linear_1": "summary",
    "lstm/linear_2": "y_hat",
    "lstm/linear_3": "z_hat",
    "lstm/linear_4": "pi_hat",
    "lstm/sequential_1/conv1_d": "policy_block/linear",
    f"{LIFETIME}/mlp_2/~/linear_0": "lifetime/compression",
    **{
        f"{there}/{layer}": f"{here}/inputs/{module}"
        for there, here in (("lstm", ""), (LIFETIME, "lifetime"))
        for layer, module in {
            "mlp/~/linear_0": "embed_y/hidden",
            "mlp/~/linear_1": "embed_y/output",
            "mlp_1/~/linear_0": "embed_z/hidden",
            "mlp_1/~/linear_1": "embed_z/output",
            "sequential/conv1_d": "blocks_0/linear",
            "sequential/conv1_d_1": "blocks_1/linear",
        }.items()
    },
}
"""Layers of the file, and those of `DiscoRule`'s theta."""
RECURRENT = {"lstm/lstm/linear": "trajectory", f"{LIFETIME}/lstm/linear": "lifetime/lstm"}
"""The same of the two LSTMs."""


def is_published(path: str | Path) -> bool:
    """Whether a path is that of a .npz file of weights without a card, as DiscoRL's authors publish theirs."""
    path = Path(path)
    return path.suffix == ".npz" and path.is_file() and not path.with_suffix(".json").exists()


def load_disco_103(path: str | Path, *, sha256: str | None = SHA256) -> TrainedRule:
    """The rule of a file in the published form, with its meta-parameters as theta.

    The sizes of the `DiscoRule` are those of the arrays. The file's LSTMs have one matrix for inputs and state, the
    order i, g, f, o of the gates, and a 1 that is added to the forget gate; here the matrix is split, the order is
    i, f, g, o, and the 1 is part of the bias.

    Args:
        path: the file.
        sha256: the file's expected hash; None for any file in this form, such as one that the published code for
            meta-training wrote.

    Raises:
        ValueError: a file that cannot be read, has other arrays than the published one, or another hash.
    """
    data = Path(path).read_bytes()
    try:
        arrays = read_arrays(path, data)
    except ValueError as error:
        raise ValueError(f"disco_103: {path} cannot be read; it is damaged, or no .npz file ({error})") from error
    rule, theta = _convert(path, arrays)
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(
            f"disco_103: {path} has the arrays of Disco103, but is not the published file (expected SHA-256 {sha256}, "
            f"got {hashlib.sha256(data).hexdigest()}); download it again, or pass sha256=None to load_disco_103"
        )
    return TrainedRule(rule, theta)


def _convert(path: str | Path, arrays: Mapping[str, np.ndarray]) -> tuple[DiscoRule, Theta]:
    names = {f"{layer}/{part}" for layer in (*DENSE, *RECURRENT) for part in ("w", "b")}
    if missing := sorted(names - {*arrays}):
        raise ValueError(
            f"disco_103: {path} has no card beside it, and is no file of DiscoRL's weights (expected {len(names)} "
            f"arrays, among them {missing[0]}; got {', '.join(sorted(arrays)[:3]) or 'none'}, ...)"
        )
    if unknown := sorted({*arrays} - names):
        raise ValueError(f"disco_103: {path} has arrays that Disco103 does not have: {', '.join(unknown)}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or not array.ndim:
            raise ValueError(f"disco_103: {name} in {path} must be float32 (got {array.dtype}{list(array.shape)})")
    embedding, (lifetime_hidden, hidden) = arrays["lstm/mlp/~/linear_0/b"].shape[0], _matrix(arrays, "lstm/linear")
    rule = DiscoRule(
        prediction_size=arrays["lstm/linear_2/b"].shape[0],
        hidden=hidden,
        lifetime_hidden=lifetime_hidden,
        embedding=embedding,
    )
    theta: Theta = {}
    for layer, module in DENSE.items():
        weights = arrays[f"{layer}/w"]
        _put(theta, f"{module}/kernel", weights.reshape(weights.shape[-2:]))
        _put(theta, f"{module}/bias", arrays[f"{layer}/b"])
    for layer, module in RECURRENT.items():
        for name, value in _lstm(arrays[f"{layer}/w"], arrays[f"{layer}/b"]).items():
            _put(theta, f"{module}/{name}", value)
    try:
        rule.check_theta(theta)
    except ValueError as error:
        raise ValueError(f"disco_103: {path} has arrays of other shapes than Disco103: {error}") from error
    return rule, theta


def _matrix(arrays: Mapping[str, np.ndarray], layer: str) -> tuple[int, int]:
    shape = arrays[f"{layer}/w"].shape
    if len(shape) != 2:
        raise ValueError(f"disco_103: {layer}/w must be a matrix (got shape {shape})")
    return shape


def _lstm(weights: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of `lopt.nets.LSTM` for those of haiku's."""
    size = bias.shape[0] // 4

    def reorder(x: np.ndarray) -> np.ndarray:
        i, g, f, o = np.split(x, 4, axis=-1)
        return np.concatenate([i, f, g, o], axis=-1)

    gates = np.repeat(np.array([0.0, 1.0, 0.0, 0.0], np.float32), size)
    both = reorder(weights)
    return {"input": both[:-size], "state": both[-size:], "bias": reorder(bias) + gates}


def _put(theta: Theta, path: str, value: np.ndarray) -> None:
    *parents, name = path.strip("/").split("/")
    for parent in parents:
        theta = theta.setdefault(parent, {})
    theta[name] = jnp.asarray(value)
