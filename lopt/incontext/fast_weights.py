"""Fast weights: a matrix that a learned rule rewrites at every example, as an in-context learner."""

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
class FastWeights:
    """The blocks of `Transformer` around the delta rule S_t = S_{t-1} + b_t (v_t - S_{t-1} k_t) k_t', read as S_t q_t.

    Keys and queries have norm one; the rate b_t = sigmoid(w u_t) in (0, 1) is one number per head. What a key stood for
    is replaced, where `LinearAttention` adds to it. The sequence may be of any length.

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

    Paper: arXiv 2102.11174, eq. 24-25.
    Differs: keys are normalised by their norm, not by the sum of a feature map.
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
            return _DeltaRule(self.heads, per_head(self), into, name=name)

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


class _DeltaRule(nn.Module):
    heads: int
    key_size: int
    into: nn.initializers.Initializer

    @nn.compact
    def __call__(self, u: Float[Array, "T width"]) -> Float[Array, "T width"]:
        length, size = len(u), self.heads * self.key_size
        q, k, v = jnp.split(nn.Dense(3 * size, use_bias=False, name="attend")(u), 3, axis=-1)
        q, k, v = (x.reshape(length, self.heads, self.key_size) for x in (q, k, v))
        q, k = (x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-6) for x in (q, k))
        rate = nn.sigmoid(nn.Dense(self.heads, name="rate")(u))

        def step(weights: Array, now: tuple[Array, ...]) -> tuple[Array, Array]:
            q, k, v, rate = now
            error = v - jnp.einsum("hvk,hk->hv", weights, k)
            weights = weights + jnp.einsum("hv,hk->hvk", rate[:, None] * error, k)
            return weights, jnp.einsum("hvk,hk->hv", weights, q)

        empty = jnp.zeros((self.heads, self.key_size, self.key_size))
        read = jax.lax.scan(step, empty, (q, k, v, rate))[1].reshape(length, size)
        return nn.Dense(u.shape[1], use_bias=False, kernel_init=self.into, name="read")(read)
