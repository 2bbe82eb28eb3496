"""The drift function of mirror learning, which penalises the distance from the behaviour policy; PPO's drift."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Progress, Theta


@runtime_checkable
class Drift(Protocol):
    """A drift f(r, A), in the objective E[r A - f(r, A)] with the probability ratio r = pi(a) / pi_old(a).

    It is valid, which guarantees monotonic improvement of the policy, if for every advantage A

        (i) f(r, A) >= 0,   (ii) f(1, A) = 0,   (iii) df/dr(1, A) = 0.

    Paper: arXiv 2201.02373 (mirror learning); in this form arXiv 2210.05639.
    """

    @property
    def time_aware(self) -> bool:
        """Whether f depends on `progress`."""
        ...

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters; `()` for a drift without any."""
        ...

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f(r, A), entry by entry.

        Args:
            theta: meta-parameters.
            log_ratio: log r.
            advantage: A, normalised.
            progress: the progress of one learner, used by a drift that is `time_aware`.
        """
        ...


@dataclass(frozen=True)
class Clip:
    """PPO's drift: f(r, A) = ReLU((r - clip(r, 1 - epsilon, 1 + epsilon)) A).

    r A - f(r, A) is PPO's clipped surrogate min(r A, clip(r, 1 - epsilon, 1 + epsilon) A).

    Attributes:
        epsilon: clipping range of the ratio.

    Raises:
        ValueError: an epsilon that is not positive.

    Paper: arXiv 1707.06347, eq. 7; as a drift arXiv 2210.05639.
    """

    epsilon: float = 0.2
    time_aware = False

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ValueError(f"Clip: epsilon must be positive (got {self.epsilon})")

    def init(self, key: Key) -> Theta:
        """`()`: PPO's drift has no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f(r, A), entry by entry; `theta` and `progress` are not used."""
        ratio = jnp.exp(log_ratio)
        beyond = ratio - jnp.clip(ratio, 1 - self.epsilon, 1 + self.epsilon)
        return jax.nn.relu(beyond * advantage)


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
