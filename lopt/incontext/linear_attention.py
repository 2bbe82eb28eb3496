"""Linear attention: a matrix that keeps outer products, as an in-context learner."""

from dataclasses import dataclass
from typing import cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.blocks import Blocks
from lopt.incontext.checks import at_least_one, fits, per_head
from lopt.types import Key, Theta


@dataclass(frozen=True)
class LinearAttention:
    """The blocks of `Transformer` around S_t = S_{t-1} + v_t k_t', read as S_t q_t / t.

    Its state does not grow with the sequence, which may be of any length. All positions are computed at once, as
    products with a causal mask. There are no positions: order enters by the mask and by 1 / t alone.

    Attributes:
        inputs: width of x.
        targets: width of y as it is told.
        outputs: width of a prediction.
        width: of a token.
        layers: L.
        heads: H.
        key_size: rows and columns of a head's S; None for width / heads.
        expansion: hidden width of the network, in tokens' widths.

    Raises:
        ValueError: a size below one, or heads that do not divide the width where there is no `key_size`.

    Paper: arXiv 2006.16236 (there with a feature map and its normaliser, here with neither); arXiv 2102.11174.
    """

    inputs: int
    targets: int
    outputs: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_size: int | None = None
    expansion: int = 4

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs", "width", "layers", "heads", "expansion")
        per_head(self)

    @property
    def _net(self) -> Blocks:
        def mix(name: str, into: nn.initializers.Initializer) -> nn.Module:
            return _Sums(self.heads, per_head(self), into, name=name)

        return Blocks(self.outputs, self.width, self.layers, self.expansion, mix)

    def init(self, key: Key) -> Theta:
        """Weights by fan-in; those that write into the tokens smaller by sqrt(2 L)."""
        return self._net.init(key, jnp.zeros((1, self.inputs + self.targets)))["params"]

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev)
        return cast(jax.Array, self._net.apply({"params": theta}, jnp.concatenate([xs, ys_prev], -1)))

    def state_size(self, length: int) -> int:
        """L H matrices, whatever the length."""
        return self.layers * self.heads * per_head(self) ** 2


class _Sums(nn.Module):
    heads: int
    key_size: int
    into: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        age = jnp.arange(1, length + 1)[:, None, None]
        scores = jnp.einsum("thd,shd->hts", q * self.key_size**-0.5 / age, k)
        read = jnp.einsum("hts,shd->thd", jnp.tril(scores), v).reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.into, name="read")(read)
