"""The nouns: records that hold arrays only, and the names of the axes.

Axes, everywhere in lopt: T time, B parallel environments, N lifetimes, K inner updates, A actions, M prediction
width, P population. Time comes first: `[T, B, ...]`. Records carry no callables, so any of them can be vmapped,
merged, donated and checkpointed; configuration lives in frozen dataclasses outside them.

Four words are kept apart: a *level* is a task as data, a *lifetime* is a number of inner updates, an *episode* ends
by termination or truncation, a *rollout* is a window of T steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

Key = jax.Array
"""A typed PRNG key (`jax.random.key`)."""
PyTree = Any
Theta = Any
"""Meta-parameters: the rule that is being learned."""
Params = Any
"""Parameters of an inner learner."""
Metrics = dict[str, Any]
"""Named arrays."""
TaskLoss = tuple[Float[Array, ""], tuple[Metrics, dict[str, Any]]]
"""The loss of a minibatch, with metrics (scalars) and keyword arguments for the optimizer (`dormancy`)."""


class Level(struct.PyTreeNode):
    """A task as data: the environment's parameters and how many inner updates a learner gets on it.

    `rates` are factors on the learner's own learning rates (`Rates`), where a curriculum chooses them; `()` elsewhere.
    """

    params: Any
    lifetime: Int[Array, "*n"]
    rates: Any = ()


def check_lifetimes(level: Level) -> None:
    """Refuse levels on which nothing would be learned; lifetimes that are being traced pass.

    Raises:
        ValueError: a lifetime below one.
    """
    if isinstance(level.lifetime, jax.core.Tracer):
        return
    shortest = np.asarray(level.lifetime).min()
    if not shortest >= 1:
        raise ValueError(f"Level: a lifetime must be at least 1 update (got {shortest})")


class Rates(struct.PyTreeNode):
    """Factors on the learning rates of an agent's policy and prediction."""

    policy: Float[Array, "*n"]
    prediction: Float[Array, "*n"]


class Progress(struct.PyTreeNode):
    """Where a learner stands in its lifetime: `step` updates done out of `lifetime`."""

    step: Int[Array, "*n"]
    lifetime: Int[Array, "*n"]

    @property
    def fraction(self) -> Float[Array, "*n"]:
        """n / N in [0, 1]."""
        return self.step.astype(jnp.float32) / jnp.maximum(self.lifetime, 1).astype(jnp.float32)

    @property
    def log_lifetime(self) -> Float[Array, "*n"]:
        """Natural logarithm of N."""
        return jnp.log(jnp.maximum(self.lifetime, 1).astype(jnp.float32))


class TabularObs(struct.PyTreeNode):
    """An observation that is a state index, and the time in the episode as a scalar feature (steps / 1000)."""

    index: Int[Array, "*b"]
    time: Float[Array, "*b"]


class PlaneObs(struct.PyTreeNode):
    """An observation of planes `[height, width, channels]`, and the time in the episode (steps / 1000)."""

    planes: Float[Array, "*b height width channels"]
    time: Float[Array, "*b"]


class TimeStep(struct.PyTreeNode):
    """What one environment step returns; the environment resets itself when an episode ends.

    `obs` is what the agent acts on next (after a reset, if there was one); `final_obs` is the observation the action
    led to, before any reset: the one to bootstrap from. `discount` is 0 where the episode terminated, else 1.
    `truncated` says that a time limit cut the episode: its return goes on, the state does not.
    """

    obs: Any
    reward: Float[Array, "*b"]
    discount: Float[Array, "*b"]
    truncated: Bool[Array, "*b"]
    final_obs: Any

    @property
    def last(self) -> Bool[Array, "*b"]:
        """True where the episode ended, for either reason."""
        return (self.discount == 0) | self.truncated


class Trajectory(struct.PyTreeNode):
    """A rollout `[T, B, ...]`; `next_obs` is the observation before any reset (`TimeStep.final_obs`).

    An action is a number, or a vector of real numbers `[A]` as it was drawn, before it is clipped for the environment.
    """

    obs: Any
    action: Int[Array, "*tb"] | Float[Array, "*tb A"]
    reward: Float[Array, "*tb"]
    discount: Float[Array, "*tb"]
    truncated: Bool[Array, "*tb"]
    next_obs: Any

    @property
    def last(self) -> Bool[Array, "*tb"]:
        """True where an episode ended, by termination or truncation."""
        return (self.discount == 0) | self.truncated


class Gaussian(struct.PyTreeNode):
    """A policy over real vectors whose entries are independent: means and logarithms of standard deviations."""

    mean: Float[Array, "*b A"]
    log_std: Float[Array, "*b A"]


Policy = Float[Array, "*b A"] | Gaussian
"""What an agent would do: logits of discrete actions, or a `Gaussian` over real ones."""


class AgentOutput(struct.PyTreeNode):
    """What an agent says of an observation: its policy and prediction logits `[..., M]`.

    The policy is logits `[..., A]` where actions are discrete; `lopt.policies` takes either.
    """

    policy: Float[Array, "*tb A"] | Gaussian
    prediction: Float[Array, "*tb M"]


class Context(struct.PyTreeNode):
    """T examples of one task in the order in which an in-context learner meets them.

    The learner predicts `targets[t]` from `xs[: t + 1]` and `ys_prev[: t + 1]`; `ys_prev[t]` is what it is told of the
    example before, and zero at t = 0.
    """

    xs: Float[Array, "*n T X"]
    ys_prev: Float[Array, "*n T Y"]
    targets: Any


class Assignment(struct.PyTreeNode):
    """Which level each of N lifetimes plays, and where the curriculum keeps it.

    `slot >= 0` is a place in the curriculum's buffer; `NEW` a level it has not kept yet; `UNTRACKED` a life whose
    result must not be recorded (a life that was cut short on purpose).
    """

    levels: Level
    slot: Int[Array, " N"]


NEW = -1
UNTRACKED = -2


class EstimatorState(struct.PyTreeNode):
    """What an estimator carries: `lives`, leaves `[N, ...]`, and what all of them share (`()` for nothing)."""

    lives: Any
    shared: Any


class EstimatorMetrics(struct.PyTreeNode):
    """What an estimator measured: `meta` scalars or `[N]`, `steps` the lifetimes' own metrics `[N, K, ...]`.

    `finite` says which lifetimes gave something finite. The others are left out of the gradient, and their learners
    are of no use any more: the meta-learner replaces them at once.
    """

    meta: Metrics
    steps: Metrics
    finite: Bool[Array, "*n"]


class MetaState(struct.PyTreeNode):
    """Everything a meta-training run carries; saving it (and the run's seed) is enough to go on bit for bit."""

    theta: Any
    opt_state: Any
    lifetimes: Any
    scores: Any
    curriculum: Any
    assignment: Assignment
    step: Int[Array, ""]
