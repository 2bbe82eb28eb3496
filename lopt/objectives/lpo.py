"""Learned policy optimisation: a drift that is a small network, valid whatever its weights are."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.objectives.drift import Drift
from lopt.objectives.time import Fraction, NoTime
from lopt.types import Key, Progress, Theta

FEATURES = 8


@dataclass(frozen=True)
class LPO:
    """A drift with meta-parameters theta = {"hidden": W1 `[8 (1 + k), hidden]`, "out": w2 `[hidden]`}.

        x = (log r, (log r)^2, 1 - r, (1 - r)^2),   X = (x, A x),   X_t = (X, g_1 X, ..., g_k X)
        f(r, A) = ReLU(f_0(r, A) + w2^T tanh(W1^T X_t) - xi)

    with f_0 = 0 or a drift to start from, and the k features g of time (TA-LPO: g = n / N). At r = 1 all of X_t is zero
    and there are no biases, so the network is zero and f is zero around r = 1: f is a valid drift for every theta, at
    every time. That is why time multiplies X: as an input of its own it would move the network at r = 1.

    The network is even in theta (tanh is odd): antithetic perturbations of theta = 0 have equal fitness and evolution
    strategies cannot start there. `init` is away from zero.

    Attributes:
        hidden: width of the hidden layer.
        floor: f_0, a drift without meta-parameters: `Clip()` makes theta = 0 PPO (up to xi); None is f_0 = 0.
        xi: what the network must exceed to count; the width of the dead zone around r = 1 goes with it.
        conditioning: the features g of time; `NoTime()` is LPO, `Fraction()` TA-LPO.
        init_scale: the standard deviation of w2 at birth, times the square root of `hidden`.

    Raises:
        ValueError: a width below one, a `xi` or `init_scale` that is not positive, or a floor that is itself learned.

    Paper: arXiv 2210.05639; arXiv 2402.05828 (TA-LPO).
    Differs: xi is that of luchris429/discovered-policy-optimisation; AlexGoldie/learn-rl-algorithms distils with 1e-6.
        The official search starts at theta = 0. The latter orders x as (r - 1, (r - 1)^2, log r, (log r)^2): the same
        functions, other weights; and adds its network's output of shape (B, 1) to drifts of shape (B,).
    """

    hidden: int = 128
    floor: Drift | None = None
    xi: float = 1e-4
    conditioning: Any = NoTime()
    init_scale: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("xi", 0), ("init_scale", 0)):
            value = getattr(self, name)
            if not (value >= least and value > 0):
                raise ValueError(f"LPO: {name} must be {'at least 1' if least else 'positive'} (got {value})")
        if isinstance(self.floor, LPO):
            raise ValueError("LPO: the floor must have no meta-parameters, as Clip() or DPO() (got an LPO)")

    @property
    def time_aware(self) -> bool:
        """Whether there are features of time, or f_0 depends on time."""
        return self.conditioning.features > 0 or (self.floor is not None and self.floor.time_aware)

    def init(self, key: Key) -> Theta:
        """Meta-parameters: W1 normal with variance 1 / inputs, w2 with `init_scale`^2 / hidden."""
        key_hidden, key_out = jax.random.split(key)
        inputs = FEATURES * (1 + self.conditioning.features)
        return {
            "hidden": inputs**-0.5 * jax.random.normal(key_hidden, (inputs, self.hidden)),
            "out": self.init_scale * self.hidden**-0.5 * jax.random.normal(key_out, (self.hidden,)),
        }

    def __call__(
        self, theta: Theta, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress
    ) -> Float[Array, "*b"]:
        """f at log r and A."""
        # W1^T (X, g X) is (W1_0 + g W1_1)^T X: time costs nothing per entry
        blocks = theta["hidden"].reshape(1 + self.conditioning.features, FEATURES, -1)
        hidden = blocks[0] + jnp.tensordot(self.conditioning(progress), blocks[1:], 1)
        f = jnp.tanh(features(log_ratio, advantage) @ hidden) @ theta["out"]
        if self.floor is not None:
            f = self.floor((), log_ratio, advantage, progress) + f
        return jax.nn.relu(f - self.xi)


def features(log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"]) -> Float[Array, "*b 8"]:
    """X: functions of r that vanish at r = 1, plain and times the advantage."""
    below = -jnp.expm1(log_ratio)
    x = jnp.stack([log_ratio, log_ratio**2, below, below**2], axis=-1)
    return jnp.concatenate([x, advantage[..., None] * x], axis=-1)


TALPO = partial(LPO, conditioning=Fraction())
"""Temporally-aware LPO: X_t = (X, (n / N) X)."""
