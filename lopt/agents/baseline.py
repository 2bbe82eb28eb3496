"""The value baseline of the meta-objective: a state-value function that is trained along with the agent."""

from dataclasses import dataclass
from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Bool, Float

from lopt import returns
from lopt.agents.trainable import Trainable, TrainableState, apply_many
from lopt.types import Key, Trajectory


class ValueEstimates(struct.PyTreeNode):
    """A baseline's estimates for a rollout: values V(s_t), GAE advantages A_t, and the mean of A_t^2 as `loss`."""

    value: Float[Array, "T B"]
    advantage: Float[Array, "T B"]
    loss: Float[Array, ""]


@dataclass(frozen=True, kw_only=True)
class ValueBaseline:
    """The value function V(s), trained by one optimizer step per rollout.

    It minimises mean[(V(s_t) - V*_t)^2] with the constant targets V*_t = V(s_t) + A_t, of GAE(gamma, lam) advantages A.

    Attributes:
        critic: a trainable module with one output.
        gamma: discount factor in [0, 1].
        lam: GAE's lambda in [0, 1].

    Raises:
        ValueError: a critic with more than one output; gamma or lam outside [0, 1].
    """

    critic: Trainable
    gamma: float = 0.99
    lam: float = 0.95

    def __post_init__(self) -> None:
        if self.critic.features != 1:
            raise ValueError(f"ValueBaseline: the critic must have one output (got {self.critic.features})")
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ValueBaseline: {name} must be in [0, 1] (got {getattr(self, name)})")

    def init(self, key: Key, obs: Any) -> TrainableState:
        """The initial value function; `obs` is one observation."""
        return self.critic.init(key, obs)

    def update(
        self, state: TrainableState, traj: Trajectory, active: Bool[Array, ""]
    ) -> tuple[TrainableState, ValueEstimates]:
        """One optimizer step; returns the new state, and the estimates of the value function before the step.

        The given state is a constant for differentiation. Where not `active`, it is returned unchanged.
        """
        state = jax.lax.stop_gradient(state)
        value = apply_many(self.critic, state.params, traj.obs)[..., 0]
        value_next = apply_many(self.critic, state.params, traj.next_obs)[..., 0]
        advantage = returns.gae(
            traj.reward, traj.discount, traj.truncated, value, value_next, gamma=self.gamma, lam=self.lam
        )
        # with the target A + V held fixed, the gradient of mean[(V - target)^2] in V is - 2 A / (T B)
        grads = -2.0 * advantage / advantage.size
        updated = self.critic.update(state, traj.obs, grads[..., None], active)
        return updated, ValueEstimates(value=value, advantage=advantage, loss=(advantage**2).mean())
