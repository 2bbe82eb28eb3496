"""Linear attention layers on a set of examples and one query, which can implement steps of gradient descent."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import check_positive
from lopt.incontext.merged_attention import merged_attention
from lopt.types import Key, Theta


@dataclass(frozen=True, kw_only=True)
class FewShotAttention:
    """K layers e_j <- e_j + W_PV E E^T W_KQ e_j / N over N example tokens (x_i, y_i) and a query token (x_q, 0).

    The prediction is minus the second half of the query token after the last layer. With the weights
    `gradient_descent(eta, gamma)`, every layer is a step of gradient descent from zero on
    1/2 sum_i |y_i - W x_i|^2 / N with step size eta; the residuals replace the y_i. With gamma > 0 a layer also
    transforms the inputs, x_j <- (I - gamma X^T X / N) x_j, which improves the condition number (GD++).

    Attributes:
        inputs: width of x.
        targets: width of y.
        layers: K.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: a size is below one, or `scale` is negative.

    Paper: arXiv 2212.07677, proposition 1, and section 4 for GD++.
    Differs: key and query matrix, and projection and value matrix, are merged into one matrix each; the factor 1 / N is
        explicit, where the paper has it in the projection; no token attends to the query, whose second half is a
        prediction and not a residual after the first layer.
    """

    inputs: int
    targets: int
    layers: int = 1
    scale: float = 0.02

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "layers")
        if self.scale < 0:
            raise ValueError(f"FewShotAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq` `[K, ...]`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = self.inputs + self.targets
        shape = (self.layers, width, width)
        return {
            "pv": self.scale * jax.random.normal(key_pv, shape),
            "kq": self.scale * jax.random.normal(key_kq, shape),
        }

    def gradient_descent(self, step_size: float, curvature: float = 0.0) -> Theta:
        """The weights of K equal steps of gradient descent (GD++ if gamma is positive).

        Args:
            step_size: eta; W_PV is -eta I in the block of y.
            curvature: gamma; W_PV is -gamma I in the block of x.
        """
        x, y = self.inputs, self.targets
        sizes = jnp.concatenate([jnp.full(x, curvature), jnp.full(y, step_size)])
        inputs_only = jnp.concatenate([jnp.ones(x), jnp.zeros(y)])
        pv, kq = jnp.diag(-sizes), jnp.diag(inputs_only)
        return {"pv": jnp.stack([pv] * self.layers), "kq": jnp.stack([kq] * self.layers)}

    def apply(
        self, theta: Theta, xs: Float[Array, "N X"], ys: Float[Array, "N Y"], query: Float[Array, " X"]
    ) -> Float[Array, " Y"]:
        """The prediction `[targets]` for the query x_q, given N examples."""
        tokens = jnp.concatenate([xs, ys], -1)
        query_token = jnp.concatenate([query, jnp.zeros(self.targets)])
        tokens = jnp.concatenate([tokens, query_token[None]])
        visible = jnp.broadcast_to(jnp.arange(len(tokens)) < len(xs), (len(tokens), len(tokens)))

        def layer(tokens, theta):
            return tokens + merged_attention(theta["pv"], theta["kq"], tokens, visible) / len(xs), None

        return -jax.lax.scan(layer, tokens, theta)[0][-1, self.inputs :]
