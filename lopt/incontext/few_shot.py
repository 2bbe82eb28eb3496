"""Layers of linear attention over a set of examples and one question: steps of gradient descent."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one
from lopt.incontext.merged_attention import merged_attention
from lopt.types import Key, Theta


@dataclass(frozen=True)
class FewShotAttention:
    """e_j += W_PV E E^T W_KQ e_j / N, layer by layer, over tokens (x_i, y_i), i = 1, ..., N, and a question (x_q, 0).

    The prediction is minus what the question's second half has become. With the weights `descent(eta, gamma)` every
    layer is a step of gradient descent from zero on 1/2 sum_i |y_i - W x_i|^2 / N, of size eta (the residuals stand
    where the y were), and with gamma > 0 also x_j <- (I - gamma X^T X / N) x_j, which evens out the curvature (GD++).

    Attributes:
        inputs: width of x.
        targets: width of y.
        layers: K.
        scale: standard deviation of the weights at birth.

    Raises:
        ValueError: a size below one, or a negative `scale`.

    Paper: arXiv 2212.07677, proposition 1, and section 4 for GD++. Differs: key and query, projection and value are one
    matrix each; divided by N, which the paper's projection holds; the question attends but is not attended to, since
    after a layer its second half is a prediction and no residual.
    """

    inputs: int
    targets: int
    layers: int = 1
    scale: float = 0.02

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "layers")
        if self.scale < 0:
            raise ValueError(f"FewShotAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Every entry ~ N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = self.inputs + self.targets
        shape = (self.layers, width, width)
        return {
            "pv": self.scale * jax.random.normal(key_pv, shape),
            "kq": self.scale * jax.random.normal(key_kq, shape),
        }

    def descent(self, step_size: float, curvature: float = 0.0) -> Theta:
        """eta in the block of y, gamma in that of x, the same in every layer; W_KQ compares x with x."""
        x, y = self.inputs, self.targets
        sizes = jnp.concatenate([jnp.full(x, curvature), jnp.full(y, step_size)])
        compare = jnp.concatenate([jnp.ones(x), jnp.zeros(y)])
        pv, kq = jnp.diag(-sizes), jnp.diag(compare)
        return {"pv": jnp.stack([pv] * self.layers), "kq": jnp.stack([kq] * self.layers)}

    def apply(
        self, theta: Theta, xs: Float[Array, "N X"], ys: Float[Array, "N Y"], question: Float[Array, " X"]
    ) -> Float[Array, " Y"]:
        """The prediction of the question's y."""
        tokens = jnp.concatenate([xs, ys], -1)
        asked = jnp.concatenate([question, jnp.zeros(self.targets)])
        tokens = jnp.concatenate([tokens, asked[None]])
        visible = jnp.broadcast_to(jnp.arange(len(tokens)) < len(xs), (len(tokens), len(tokens)))

        def layer(tokens, theta):
            return tokens + merged_attention(theta["pv"], theta["kq"], tokens, visible) / len(xs), None

        return -jax.lax.scan(layer, tokens, theta)[0][-1, self.inputs :]
