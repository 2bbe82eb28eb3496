"""One layer of causal linear attention for next-token prediction, in the parametrisation of arXiv 2405.16845."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from lopt.types import Key, Theta


@dataclass(frozen=True)
class AutoregressiveAttention:
    """Predicts x_{t+1} from x_1, ..., x_t by y_t = W_PV E_t E_t^* W_KQ e_t / (t - 1).

    The tokens are e_t = (x_t, x_{t-1}) with x_0 = 0, and E_t = (e_1, ..., e_t). W_PV `[d, 2d]` and W_KQ `[2d, 2d]` are
    real; a sequence may be complex. With the weights `structured(a, b)`, the layer applies to x_t the matrix W that
    one step of gradient descent from zero on 1/2 sum_{s<t} |x_{s+1} - W x_s|^2 finds, with step size ab / (t - 1).

    Attributes:
        dimensions: d.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: `dimensions` is below one, or `scale` is negative.

    Paper: arXiv 2405.16845, section 3.
    Differs: the block of the token that is always zero is left out, as in the official code; the first prediction,
        which the loss does not use, is divided by one.
    """

    dimensions: int
    scale: float = 0.1

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.scale < 0:
            raise ValueError(
                "AutoregressiveAttention: expected dimensions >= 1 and scale >= 0 "
                f"(got {self.dimensions} and {self.scale})"
            )

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        d = self.dimensions
        return {
            "pv": self.scale * jax.random.normal(key_pv, (d, 2 * d)),
            "kq": self.scale * jax.random.normal(key_kq, (2 * d, 2 * d)),
        }

    def structured(self, a: float, b: float) -> Theta:
        """Diagonal weights: W_KQ = a I in rows x_{t-1}, columns x_t; W_PV = b I in columns x_t; all else zero.

        Paper: arXiv 2405.16845, assumption 3.1.
        """
        identity, zero = jnp.eye(self.dimensions), jnp.zeros((self.dimensions, self.dimensions))
        return {"pv": jnp.hstack([b * identity, zero]), "kq": jnp.block([[zero, zero], [a * identity, zero]])}

    def apply(self, theta: Theta, xs: Inexact[Array, "T d"]) -> Inexact[Array, "T d"]:
        """The predictions y_t of x_{t+1} at every position t.

        Computed from the running sums of e_s e_s^*, `[T, 2d, 2d]`, which do not depend on the weights.
        """
        previous = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
        tokens = jnp.concatenate([xs, previous], -1)
        sums = jnp.cumsum(tokens[:, :, None] * tokens[:, None].conj(), 0)
        outputs = jnp.einsum("tjk,tk->tj", sums, tokens @ theta["kq"].T) @ theta["pv"].T
        return outputs / jnp.maximum(jnp.arange(len(xs)), 1)[:, None]
