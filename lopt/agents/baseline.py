"""A value function that serves the meta-objective: it turns a rollout into advantages, and learns from it."""

from dataclasses import dataclass
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import returns
from lopt.agents.heads import Head, HeadState, apply_many
from lopt.types import Key, Trajectory


class Valuation(struct.PyTreeNode):
    """What the baseline says of a rollout: values V(s_t) and GAE advantages `[T, B]`, and its squared error."""

    value: Float[Array, "T B"]
    advantage: Float[Array, "T B"]
    loss: Float[Array, ""]


@dataclass(frozen=True)
class ValueBaseline:
    """V(s), trained by one step per rollout towards its GAE(gamma, lam) targets.

    Attributes:
        head: one output. A head whose optimizer is `optax.set_to_zero()` reproduces the official code, whose value
            critic never receives a gradient (defect G1 of EmptyJackson/groove).
        gamma, lam: discount factor and GAE's lambda.

    Raises:
        ValueError: a head of more than one output; gamma or lam outside [0, 1].
    """

    head: Head
    gamma: float = 0.99
    lam: float = 0.95

    def __post_init__(self) -> None:
        if self.head.features != 1:
            raise ValueError(f"ValueBaseline: the head must have one output (got {self.head.features})")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ValueBaseline: {name} must be in [0, 1] (got {getattr(self, name)})")

    def init(self, key: Key, obs: Any) -> HeadState:
        """A newborn value function."""
        return self.head.init(key, obs)

    def update(self, state: HeadState, traj: Trajectory, alive: Bool[Array, ""]) -> tuple[HeadState, Valuation]:
        """The state after one step, and what the state before it says of the rollout."""
        state = jax.lax.stop_gradient(state)
        value = apply_many(self.head, state.params, traj.obs)[..., 0]
        value_next = apply_many(self.head, state.params, traj.next_obs)[..., 0]
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        # with the target A + V held fixed, the gradient of mean[(V - target)^2] in V is - 2 A / (T B)
        grads = -2.0 * advantage / advantage.size
        moved = self.head.update(state, traj.obs, grads[..., None], alive)
        return moved, Valuation(value=value, advantage=advantage, loss=(advantage**2).mean())
