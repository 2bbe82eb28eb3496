"""One layer of causal linear attention that continues a sequence, in the form in which its training is solved."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from lopt.types import Key, Theta


@dataclass(frozen=True)
class AutoregressiveAttention:
    """Predicts x_{t+1} from x_1, ..., x_t: y_t = W_PV E_t E_t^* W_KQ e_t / (t - 1), with e_t = (x_t, x_{t-1}), x_0 = 0.

    E_t = (e_1, ..., e_t); W_PV is `[d, 2d]`, W_KQ `[2d, 2d]`, both real, while a sequence may be complex. The weights
    `structured(a, b)` make it one step of gradient descent from zero, of size ab / (t - 1), on
    1/2 sum_{s<t} |x_{s+1} - W x_s|^2, applied to x_t.

    Attributes:
        dimensions: d.
        scale: standard deviation of the weights at birth.

    Raises:
        ValueError: `dimensions` below one, or a negative `scale`.

    Paper: arXiv 2405.16845, section 3. Differs: the block of the token that is always zero is left out, as in the
    official code; the first prediction, which the loss does not count, is divided by one.
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
        """Every entry ~ N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        d = self.dimensions
        return {
            "pv": self.scale * jax.random.normal(key_pv, (d, 2 * d)),
            "kq": self.scale * jax.random.normal(key_kq, (2 * d, 2 * d)),
        }

    def structured(self, a: float, b: float) -> Theta:
        """W_KQ = a I in the rows of x_{t-1} and the columns of x_t, W_PV = b I in the columns of x_t, else zero.

        Paper: arXiv 2405.16845, assumption 3.1.
        """
        identity, zero = jnp.eye(self.dimensions), jnp.zeros((self.dimensions, self.dimensions))
        return {"pv": jnp.hstack([b * identity, zero]), "kq": jnp.block([[zero, zero], [a * identity, zero]])}

    def apply(self, theta: Theta, xs: Inexact[Array, "T d"]) -> Inexact[Array, "T d"]:
        """The prediction of x_{t+1} at every t.

        By running sums of e_s e_s^*, which many weights can share: T d^2 numbers instead of T^2.
        """
        before = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
        tokens = jnp.concatenate([xs, before], -1)
        sums = jnp.cumsum(tokens[:, :, None] * tokens[:, None].conj(), 0)
        read = jnp.einsum("tjk,tk->tj", sums, tokens @ theta["kq"].T) @ theta["pv"].T
        return read / jnp.maximum(jnp.arange(len(xs)), 1)[:, None]
