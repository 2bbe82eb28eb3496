"""What keeps a policy near the one that played: the drift of mirror learning, and PPO's."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Key, Progress, Theta


@runtime_checkable
class Drift(Protocol):
    """f(r, A): what the objective E[r A - f(r, A)] charges for moving a probability by the ratio r = pi(a) / pi_old(a).

    It is valid, and learning with it then improves the policy monotonically, if for every advantage A
    (i) f >= 0, (ii) f(1, A) = 0 and (iii) df/dr(1, A) = 0.

    Paper: arXiv 2201.02373 (mirror learning); in this form arXiv 2210.05639.
    """

    @property
    def time_aware(self) -> bool:
        """Whether f depends on `progress`."""
        ...

    def init(self, key: Key) -> Theta:
        """Meta-parameters; `()` for a drift that has none."""
        ...

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f at log r and A, entry by entry; `progress` is one learner's."""
        ...


@dataclass(frozen=True)
class Clip:
    """PPO's clipping as a drift: f(r, A) = ReLU((r - clip(r, 1 - epsilon, 1 + epsilon)) A).

    r A - f is min(r A, clip(r, 1 - epsilon, 1 + epsilon) A).

    Attributes:
        epsilon: how far the ratio may go from one before moving it further earns nothing.

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
        """There are no meta-parameters."""
        return ()

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f at log r and A."""
        ratio = jnp.exp(log_ratio)
        beyond = ratio - jnp.clip(ratio, 1 - self.epsilon, 1 + self.epsilon)
        return jax.nn.relu(beyond * advantage)
