"""Drifts of mirror learning: those of PPO and DPO, and learned ones (LPO), networks that are valid for all weights."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.objectives.time import Fraction, NoTime
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


FEATURES = 8
"""Number of features X of r and A."""


@dataclass(frozen=True, kw_only=True)
class LPO:
    """A drift given by a network with weights theta = {"hidden": W1 `[8 (1 + k), hidden]`, "out": w2 `[hidden]`}.

        x = (log r, (log r)^2, 1 - r, (1 - r)^2),   X = (x, A x),   X_t = (X, g_1 X, ..., g_k X)
        f(r, A) = ReLU(f_0(r, A) + w2^T tanh(W1^T X_t) - xi)

    with the base drift f_0 (0 if none) and k time features g (TA-LPO: g = n / N). At r = 1 all of X_t is zero and there
    are no biases, so that the network is zero and f = 0 in a neighbourhood of r = 1: f is a valid drift for every theta
    and at every time. Time multiplies X because as a separate input it would make the network non-zero at r = 1.

    The network is even in theta (tanh is odd): antithetic perturbations of theta = 0 have equal fitness, so that
    evolution strategies cannot start there. `init` is therefore not zero.

    Attributes:
        hidden: width of the hidden layer.
        base_drift: f_0, a drift without meta-parameters; with `Clip()`, theta = 0 is PPO (up to xi); None is f_0 = 0.
        xi: margin that is subtracted from the network's output; it sets the width of the zone around r = 1 where f = 0.
        conditioning: the time features g (`lopt.objectives.time`); `NoTime()` is LPO, `Fraction()` TA-LPO.
        init_scale: standard deviation of the initial w2, times the square root of `hidden`.

    Raises:
        ValueError: a width below one, a `xi` or `init_scale` that is not positive, or a base drift that is an LPO.

    Paper: arXiv 2210.05639; arXiv 2402.05828 (TA-LPO).
    Differs: xi is that of luchris429/discovered-policy-optimisation, whose search starts at theta = 0.
        AlexGoldie/learn-rl-algorithms distils with xi = 1e-6, orders x as (r - 1, (r - 1)^2, log r, (log r)^2), which
        permutes the weights, and adds its network's output of shape (B, 1) to drifts of shape (B,).
    """

    hidden: int = 128
    base_drift: Drift | None = None
    xi: float = 1e-4
    conditioning: Any = NoTime()
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("xi", 0), ("init_scale", 0)):
            value = getattr(self, name)
            if not (value >= least and value > 0):
                raise ValueError(f"LPO: {name} must be {'at least 1' if least else 'positive'} (got {value})")
        if isinstance(self.base_drift, LPO):
            raise ValueError("LPO: base_drift must have no meta-parameters, as Clip() or DPO() (got an LPO)")

    @property
    def time_aware(self) -> bool:
        """Whether there are time features, or f_0 depends on time."""
        return self.conditioning.features > 0 or (self.base_drift is not None and self.base_drift.time_aware)

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters: W1 normal with variance 1 / (8 (1 + k)), w2 with `init_scale`^2 / hidden."""
        key_hidden, key_out = jax.random.split(key)
        inputs = FEATURES * (1 + self.conditioning.features)
        return {
            "hidden": inputs**-0.5 * jax.random.normal(key_hidden, (inputs, self.hidden)),
            "out": self.init_scale * self.hidden**-0.5 * jax.random.normal(key_out, (self.hidden,)),
        }

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f(r, A), entry by entry, at the time `progress`."""
        # W1^T (X, g X) = (W1_0 + g W1_1)^T X, so that time adds no cost per entry
        blocks = theta["hidden"].reshape(1 + self.conditioning.features, FEATURES, -1)
        hidden = blocks[0] + jnp.tensordot(self.conditioning(progress), blocks[1:], 1)
        f = jnp.tanh(features(log_ratio, advantage) @ hidden) @ theta["out"]
        if self.base_drift is not None:
            f = self.base_drift((), log_ratio, advantage, progress) + f
        return jax.nn.relu(f - self.xi)


def features(log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"]) -> Float[Array, "*b 8"]:
    """X = (x, A x), with x = (log r, (log r)^2, 1 - r, (1 - r)^2), which vanishes at r = 1."""
    one_minus_r = -jnp.expm1(log_ratio)
    x = jnp.stack([log_ratio, log_ratio**2, one_minus_r, one_minus_r**2], axis=-1)
    return jnp.concatenate([x, advantage[..., None] * x], axis=-1)


TALPO = partial(LPO, conditioning=Fraction())
"""Temporally-aware LPO: X_t = (X, (n / N) X)."""
