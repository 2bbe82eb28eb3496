"""The mesa-layer: attention that solves a regularised least-squares problem over the context at every position."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import check_positive, check_sequence
from lopt.incontext.one_layer import paired_tokens
from lopt.types import Key, Theta


def least_squares_attention(
    keys: Float[Array, "T K"],
    values: Float[Array, "T V"],
    queries: Float[Array, "T K"],
    strength: Float[Array, ""] | float,
) -> Float[Array, "T V"]:
    """Outputs o_t = W_t q_t with W_t = argmin_W sum_{s<=t} |W k_s - v_s|^2 + |W|^2 / lambda, for every t.

    One scan computes R_t = (sum_{s<=t} k_s k_s^T + I / lambda)^-1 by the Sherman-Morrison formula,
    R_t = R_{t-1} - R_{t-1} k_t k_t^T R_{t-1} / (1 + k_t^T R_{t-1} k_t) with R_0 = lambda I, and
    o_t = (sum_{s<=t} v_s k_s^T) R_t q_t. In single precision R is inaccurate if lambda |k|^2 exceeds about 10^6.

    Args:
        keys: k_t.
        values: v_t.
        queries: q_t.
        strength: lambda; a larger value regularises less.

    Paper: arXiv 2309.05858, section 5 (mesa-layer).
    """

    def body(carry, step):
        inverse, sums = carry
        k, v, q = step
        gain = inverse @ k
        inverse = inverse - jnp.outer(gain, gain) / (1 + k @ gain)
        sums = sums + jnp.outer(v, k)
        return (inverse, sums), sums @ (inverse @ q)

    initial = strength * jnp.eye(keys.shape[1]), jnp.zeros((values.shape[1], keys.shape[1]))
    return jax.lax.scan(body, initial, (keys, values, queries))[1]


@dataclass(frozen=True, kw_only=True)
class MesaLayer:
    """One mesa-layer on `paired_tokens`: y_t = sum_h P_h o_{h,t}, with keys, values and queries linear in the token.

    o_{h,t} is `least_squares_attention` of head h. With the weights `least_squares(strength)`, the layer is ridge
    regression on the examples before position t, applied to x_t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        heads: H, number of heads.
        key_size: width of keys and queries; None for `inputs`.
        value_size: width of values; None for `targets`.

    Raises:
        ValueError: a size is below one.

    Paper: arXiv 2309.05858, section 5.
    Differs: keys and queries are not normalised; gradients are computed through the scan.
    """

    inputs: int
    targets: int
    outputs: int
    heads: int = 1
    key_size: int | None = None
    value_size: int | None = None

    def __post_init__(self) -> None:
        optional = [name for name in ("key_size", "value_size") if getattr(self, name) is not None]
        check_positive(self, "inputs", "targets", "outputs", "heads", *optional)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Widths of a token, a key and a value."""
        key = self.inputs if self.key_size is None else self.key_size
        return 2 * self.inputs + self.targets, key, self.targets if self.value_size is None else self.value_size

    def init(self, key: Key) -> Theta:
        """Initial weights: Gaussian with variance 1 / fan-in, and lambda = 1 for every head."""
        token, size, value = self._sizes
        shapes = {"key": (size, token), "value": (value, token), "query": (size, token), "out": (self.outputs, value)}
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        heads = {
            name: jax.random.normal(keys[name], (self.heads, *shape)) / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        return heads | {"log_strength": jnp.zeros(self.heads)}

    def least_squares(self, strength: float) -> Theta:
        """The weights of ridge regression with penalty 1 / `strength`: key x_{t-1}, value y_{t-1}, query x_t.

        Raises:
            ValueError: there is more than one head, or a size differs from that of x or y.
        """
        x, y, (token, key, value) = self.inputs, self.targets, self._sizes
        if self.heads != 1 or key != x or not value == self.outputs == y:
            raise ValueError(
                "MesaLayer.least_squares: expected one head, keys as wide as x, values and outputs as wide as y (got "
                f"{self.heads}, {key}, {value} and {self.outputs})"
            )
        rows = jnp.eye(token)[None]
        return {
            "key": rows[:, x : 2 * x],
            "value": rows[:, 2 * x :],
            "query": rows[:, :x],
            "out": jnp.eye(y)[None],
            "log_strength": jnp.log(jnp.full(1, strength)),
        }

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        tokens = paired_tokens(xs, ys_prev)

        def head(theta: Theta) -> Array:
            keys, values, queries = (tokens @ theta[name].T for name in ("key", "value", "query"))
            outputs = least_squares_attention(keys, values, queries, jnp.exp(theta["log_strength"]))
            return outputs @ theta["out"].T

        return jax.vmap(head)(theta).sum(0)

    def state_size(self, length: int) -> int:
        """R and the sum of v k^T of every head, and the previous x, independent of `length`."""
        _, key, value = self._sizes
        return self.heads * key * (key + value) + self.inputs
