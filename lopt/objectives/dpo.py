"""Discovered policy optimisation: the drift that was read off the learned ones."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Progress, Theta


@dataclass(frozen=True)
class DPO:
    """The closed form that LPO's learned drifts led to.

        f(r, A) = ReLU((r - 1) A - alpha tanh((r - 1) A / alpha))    where A >= 0
        f(r, A) = ReLU(A log r - beta tanh(A log r / beta))          where A < 0

    For A >= 0 and r > 1 the objective's slope A (1 - tanh^2((r - 1) A / alpha)) fades and never ends; for A < 0 and
    r < 1 it changes sign where tanh^2(A log r / beta) > r, and the policy is rolled back. Value, slope and curvature of
    f vanish at r = 1.

    Attributes:
        alpha, beta: how soon the drift sets in, above and below zero advantage; for normalised advantages.

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
        """There are no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f at log r and A."""
        above = advantage >= 0
        x = advantage * jnp.where(above, jnp.expm1(log_ratio), log_ratio)
        scale = jnp.where(above, self.alpha, self.beta)
        return jax.nn.relu(x - scale * jnp.tanh(x / scale))
