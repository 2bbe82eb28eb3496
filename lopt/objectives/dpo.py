"""Discovered policy optimisation (DPO): the closed-form drift derived from learned ones."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Progress, Theta


@dataclass(frozen=True)
class DPO:
    """DPO's drift, a closed form of the drifts learned by LPO.

        f(r, A) = ReLU((r - 1) A - alpha tanh((r - 1) A / alpha))    where A >= 0
        f(r, A) = ReLU(A log r - beta tanh(A log r / beta))          where A < 0

    For A >= 0 and r > 1 the derivative of r A - f in r is A (1 - tanh^2((r - 1) A / alpha)), which decays but stays
    positive. For A < 0 and r < 1 it changes sign where tanh^2(A log r / beta) > r (rollback). f and its first two
    derivatives in r vanish at r = 1.

    Attributes:
        alpha: scale of (r - 1) A beyond which the drift is large, for A >= 0; for normalised advantages.
        beta: scale of A log r beyond which the drift is large, for A < 0; for normalised advantages.

    Raises:
        ValueError: an alpha or beta that is not positive.

    Paper: arXiv 2210.05639; the constants are those of luchris429/purejaxrl.
    """

    alpha: float = 2.0
    beta: float = 0.6
    time_aware = False

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not getattr(self, name) > 0:
                raise ValueError(f"DPO: {name} must be positive (got {getattr(self, name)})")

    def init(self, key: Key) -> Theta:
        """`()`: DPO has no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f(r, A), entry by entry; `theta` and `progress` are not used."""
        above = advantage >= 0
        x = advantage * jnp.where(above, jnp.expm1(log_ratio), log_ratio)
        scale = jnp.where(above, self.alpha, self.beta)
        return jax.nn.relu(x - scale * jnp.tanh(x / scale))
