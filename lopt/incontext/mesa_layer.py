"""The mesa-layer: attention that solves a least-squares problem over what it has seen."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one, fits
from lopt.incontext.merged_attention import paired_tokens
from lopt.types import Key, Theta


def least_squares_attention(
    keys: Float[Array, "T K"],
    values: Float[Array, "T V"],
    queries: Float[Array, "T K"],
    strength: Float[Array, ""] | float,
) -> Float[Array, "T V"]:
    """o_t = W_t q_t with W_t = argmin_W sum_{s<=t} |W k_s - v_s|^2 + |W|^2 / strength, for every t in one pass.

    R_t = (sum_{s<=t} k_s k_s^T + I / strength)^-1 follows from R_{t-1} by the Sherman-Morrison formula,
    R_t = R_{t-1} - R_{t-1} k_t k_t^T R_{t-1} / (1 + k_t^T R_{t-1} k_t) from R_0 = strength I, and
    o_t = (sum_{s<=t} v_s k_s^T) R_t q_t. A larger strength is less regularisation (the lambda of the paper). In single
    precision R loses what strength |k|^2 has above about 10^6.

    Paper: arXiv 2309.05858, section 5 (mesa-layer).
    """

    def body(carry, step):
        inverse, sums = carry
        k, v, q = step
        gain = inverse @ k
        inverse = inverse - jnp.outer(gain, gain) / (1 + k @ gain)
        sums = sums + jnp.outer(v, k)
        return (inverse, sums), sums @ (inverse @ q)

    born = strength * jnp.eye(keys.shape[1]), jnp.zeros((values.shape[1], keys.shape[1]))
    return jax.lax.scan(body, born, (keys, values, queries))[1]


@dataclass(frozen=True)
class MesaLayer:
    """One mesa-layer over `paired_tokens`: y_t = sum_h P_h o_{h,t}, with keys, values and queries linear in the token.

    With the weights `least_squares(strength)` it is ridge regression on the examples so far, applied to x_t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        heads: H.
        key_size: of a key and a query; None for `inputs`.
        value_size: of a value; None for `targets`.

    Raises:
        ValueError: a size below one.

    Paper: arXiv 2309.05858, section 5. Differs: keys and queries are not normalised; differentiated through the scan.
    """

    inputs: int
    targets: int
    outputs: int
    heads: int = 1
    key_size: int | None = None
    value_size: int | None = None

    def __post_init__(self) -> None:
        optional = [name for name in ("key_size", "value_size") if getattr(self, name) is not None]
        at_least_one(self, "inputs", "targets", "outputs", "heads", *optional)

    @property
    def _sizes(self) -> tuple[int, int, int]:
        """Of a token, a key and a value."""
        key = self.inputs if self.key_size is None else self.key_size
        return 2 * self.inputs + self.targets, key, self.targets if self.value_size is None else self.value_size

    def init(self, key: Key) -> Theta:
        """Weights by fan-in, strengths of one."""
        token, size, value = self._sizes
        shapes = {"key": (size, token), "value": (value, token), "query": (size, token), "out": (self.outputs, value)}
        keys = dict(zip(shapes, jax.random.split(key, len(shapes)), strict=True))
        heads = {
            name: jax.random.normal(keys[name], (self.heads, *shape)) / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        return heads | {"log_strength": jnp.zeros(self.heads)}

    def least_squares(self, strength: float) -> Theta:
        """The key is x_{t-1}, the value y_{t-1}, the query x_t.

        Raises:
            ValueError: more than one head, or sizes other than those of x and y.
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
        """Predictions."""
        fits(self, xs, ys_prev)
        tokens = paired_tokens(xs, ys_prev)

        def head(theta: Theta) -> Array:
            keys, values, queries = (tokens @ theta[name].T for name in ("key", "value", "query"))
            read = least_squares_attention(keys, values, queries, jnp.exp(theta["log_strength"]))
            return read @ theta["out"].T

        return jax.vmap(head)(theta).sum(0)

    def state_size(self, length: int) -> int:
        """R and the sum of v k^T of every head, and the last x."""
        _, key, value = self._sizes
        return self.heads * key * (key + value) + self.inputs
