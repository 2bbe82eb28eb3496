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
