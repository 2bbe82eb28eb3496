"""Records of DiscoRL: an agent's outputs, what the rule reads, its targets, and its state."""

from typing import Any

import jax
from flax import struct
from jaxtyping import Array, Float

from lopt.objectives.disco.moments import DebiasedMoments
from lopt.types import Trajectory


class DiscoOutput(struct.PyTreeNode):
    """Outputs of an agent for observations, all of them logits.

    Attributes:
        policy: of the policy pi.
        y: prediction of the state, whose meaning the rule learns.
        z: the same for every action.
        aux_policy: of the policy one step later, after every action.
        q: categorical action values (`ValueBins`).
    """

    policy: Float[Array, "*tb A"]
    y: Float[Array, "*tb M"]
    z: Float[Array, "*tb A M"]
    aux_policy: Float[Array, "*tb A A"]
    q: Float[Array, "*tb A Q"]


class DiscoInputs(struct.PyTreeNode):
    """What the rule reads for one update: a batch of trajectories and the outputs of two networks on them.

    Attributes:
        traj: trajectories `[T, B, ...]`.
        behaviour: logits of the policy that took the actions.
        out: outputs of the agent on `traj.obs`.
        out_next: the same on `traj.next_obs`.
        target: outputs of the agent with the target parameters on `traj.obs`.
        target_next: the same on `traj.next_obs`.
    """

    traj: Trajectory
    behaviour: Float[Array, "T B A"]
    out: DiscoOutput
    out_next: DiscoOutput
    target: DiscoOutput
    target_next: DiscoOutput


class DiscoTargets(struct.PyTreeNode):
    """Targets of an agent's outputs, `[T, B, ...]`.

    Attributes:
        policy: pi_hat, logits.
        y: y_hat, logits.
        z: z_hat, logits; of the action taken.
        value: the Retrace return G_t.
    """

    policy: Float[Array, "T B A"]
    y: Float[Array, "T B M"]
    z: Float[Array, "T B M"]
    value: Float[Array, "T B"]


class DiscoState(struct.PyTreeNode):
    """The rule's state in one lifetime.

    Attributes:
        hidden: h of the lifetime LSTM.
        cell: c of the lifetime LSTM.
        advantage: moments of the advantages.
        target_params: a slow average of the agent's parameters.
    """

    hidden: Float[Array, " G"]
    cell: Float[Array, " G"]
    advantage: DebiasedMoments
    target_params: Any


def take_action(x: Float[Array, "T B A *n"], action: jax.Array) -> Float[Array, "T B *n"]:
    """x[t, b, a_tb], as a masked sum over the actions."""
    chosen = jax.nn.one_hot(action, x.shape[2], dtype=x.dtype)
    return (x * chosen.reshape(*chosen.shape, *(1,) * (x.ndim - 3))).sum(2)
