"""Records of arrays that the parts of lopt exchange, and the names of the axes.

Axes, everywhere in lopt: T time, B parallel environments, N lifetimes, K inner updates, A actions, M prediction
width, P population. Time comes first: `[T, B, ...]`. Records carry no callables, so any of them can be vmapped,
merged, donated and checkpointed; configuration is held by frozen dataclasses outside them.

Four terms are distinct: a *level* parametrises an environment; a *lifetime* is the training of one inner learner from
initialisation to its last update; an *episode* ends by termination or truncation; a *rollout* is a window of T steps.
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
"""Meta-parameters: the parameters of the learning rule."""
Params = Any
"""Parameters of an inner learner."""
Metrics = dict[str, Any]
"""Named arrays."""
TaskLoss = tuple[Float[Array, ""], tuple[Metrics, dict[str, Any]]]
"""The loss of a minibatch, with metrics (scalars) and extra arguments for the optimizer's update (`dormancy`)."""


class Level(struct.PyTreeNode):
    """The parameters of one environment (or one supervised task instance), and the length of a lifetime on it.

    Attributes:
        params: the environment's level parameters, or the task instance.
        num_updates: N, the number of inner updates of a lifetime on this level.
        rates: factors on the learner's learning rates (`Rates`), where a curriculum chooses them; `()` elsewhere.
    """

    params: Any
    num_updates: Int[Array, "*n"]
    rates: Any = ()

    def active(self, age: Int[Array, "*n"]) -> Bool[Array, "*n"]:
        """Whether a learner that has made `age` updates is still trained: its lifetime is not over."""
        return age < self.num_updates

    def remaining(self, age: Int[Array, "*n"]) -> Int[Array, "*n"]:
        """How many updates a learner that has made `age` updates still makes."""
        return self.num_updates - age


def check_lifetimes(level: Level) -> None:
    """Raise on levels whose lifetime has no update; a lifetime that is being traced is not checked.

    Raises:
        ValueError: a lifetime below one.
    """
    if isinstance(level.num_updates, jax.core.Tracer):
        return
    shortest = np.asarray(level.num_updates).min()
    if not shortest >= 1:
        raise ValueError(f"Level: num_updates must be at least 1 (got {shortest})")


class Rates(struct.PyTreeNode):
    """Factors on the learning rates of an agent's policy and of its prediction."""

    policy: Float[Array, "*n"]
    prediction: Float[Array, "*n"]


class Progress(struct.PyTreeNode):
    """Progress of a learner within its lifetime: n = `step` updates done out of N = `num_updates`."""

    step: Int[Array, "*n"]
    num_updates: Int[Array, "*n"]

    @property
    def fraction(self) -> Float[Array, "*n"]:
        """n / N, in [0, 1]; 0 for N = 0 and n = 0."""
        return self.step.astype(jnp.float32) / jnp.maximum(self.num_updates, 1).astype(jnp.float32)

    @property
    def log_num_updates(self) -> Float[Array, "*n"]:
        """Natural logarithm of max(N, 1)."""
        return jnp.log(jnp.maximum(self.num_updates, 1).astype(jnp.float32))


class TabularObs(struct.PyTreeNode):
    """An observation that is a state index, with the time in the episode as a scalar feature (steps / 1000)."""

    index: Int[Array, "*b"]
    time: Float[Array, "*b"]


class PlaneObs(struct.PyTreeNode):
    """An observation of planes `[height, width, channels]`, with the time in the episode (steps / 1000)."""

    planes: Float[Array, "*b height width channels"]
    time: Float[Array, "*b"]


class TimeStep(struct.PyTreeNode):
    """The result of one environment step; the environment resets itself when an episode ends.

    Attributes:
        obs: the observation the next action is chosen from; after a reset, the first one of the new episode.
        reward: r_t.
        discount: 0 where the episode terminated, else 1.
        truncated: whether a time limit ended the episode. Its value is bootstrapped from `final_obs`.
        final_obs: the observation the action led to, before any reset; the one to bootstrap from.
    """

    obs: Any
    reward: Float[Array, "*b"]
    discount: Float[Array, "*b"]
    truncated: Bool[Array, "*b"]
    final_obs: Any

    @property
    def last(self) -> Bool[Array, "*b"]:
        """True where the episode ended, by termination or truncation."""
        return (self.discount == 0) | self.truncated


class Trajectory(struct.PyTreeNode):
    """A rollout `[T, B, ...]`; `next_obs` is the observation before any reset (`TimeStep.final_obs`).

    An action is an index, or a vector of real numbers `[A]` as it was sampled, before it is clipped for the
    environment.
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
    """A diagonal Gaussian policy over real vectors: means and logarithms of standard deviations."""

    mean: Float[Array, "*b A"]
    log_std: Float[Array, "*b A"]


Policy = Float[Array, "*b A"] | Gaussian
"""A distribution over actions: logits of discrete actions, or a `Gaussian` over real ones."""


class AgentOutput(struct.PyTreeNode):
    """An agent's outputs for observations: its policy and its prediction logits `[..., M]`.

    The policy is logits `[..., A]` where actions are discrete, else a `Gaussian`; `lopt.policies` takes either.
    """

    policy: Float[Array, "*tb A"] | Gaussian
    prediction: Float[Array, "*tb M"]


class Context(struct.PyTreeNode):
    """A sequence of T examples of one task, in the order in which an in-context learner reads them.

    The learner predicts `targets[t]` from `xs[: t + 1]` and `ys_prev[: t + 1]`; `ys_prev[t]` is the label of the
    example before, as a vector, and zero at t = 0.
    """

    xs: Float[Array, "*n T X"]
    ys_prev: Float[Array, "*n T Y"]
    targets: Any


class Assignment(struct.PyTreeNode):
    """The level of each of N lifetimes, and its place in the curriculum's buffer.

    `slot >= 0` is an index into the buffer; `NEW` is a level that is not in the buffer; `UNTRACKED` is a lifetime whose
    score must not be recorded (its number of updates was shortened on purpose).
    """

    levels: Level
    slot: Int[Array, " N"]


NEW = -1
UNTRACKED = -2


class UpdateInfo(struct.PyTreeNode):
    """What one inner update reports besides the new state.

    Attributes:
        metrics: scalars for the log, by name.
        aux_loss: a regulariser of the rule, differentiable in theta: a meta-gradient adds its mean over the updates to
            the meta-loss.
        scores: what level scores read of the update, a record of its own type (`RolloutScores`, `ValueScores`); `()` if
            the lifetime gives nothing.
    """

    metrics: Metrics
    aux_loss: Any = 0.0
    scores: Any = ()


class RolloutScores(struct.PyTreeNode):
    """What every RL lifetime reports of an update's rollout.

    Attributes:
        reward: mean reward per step.
        best_return: the largest return of an episode that ended in the rollout; minus infinity if none did.
    """

    reward: Float[Array, "*n"]
    best_return: Float[Array, "*n"]


class ValueScores(RolloutScores):
    """The same, and what a value function says of the rollout.

    Attributes:
        value: mean_t V(s_t).
        positive_advantage: mean_t max(A_t, 0), A the GAE advantage.
        absolute_advantage: mean_t |A_t|.
    """

    value: Float[Array, "*n"]
    positive_advantage: Float[Array, "*n"]
    absolute_advantage: Float[Array, "*n"]


class EstimatorState(struct.PyTreeNode):
    """An estimator's state: `per_lifetime`, leaves `[N, ...]`, and `shared` by all lifetimes (`()` for nothing)."""

    per_lifetime: Any
    shared: Any


class EstimatorMetrics(struct.PyTreeNode):
    """An estimator's metrics: `meta` scalars or `[N]`, and `steps`, what the updates reported, leaves `[N, K, ...]`.

    `finite` is False for a lifetime with a non-finite loss or gradient. Such a lifetime is left out of the
    meta-gradient, and the meta-learner replaces its learner at once by an initial one.
    """

    meta: Metrics
    steps: UpdateInfo
    finite: Bool[Array, "*n"]


class MetaState(struct.PyTreeNode):
    """The complete state of a meta-training run; with the run's seed it is enough to resume bit for bit.

    Attributes:
        theta: meta-parameters.
        opt_state: state of the meta-optimizer.
        estimator_state: `EstimatorState`, with the N learners.
        scores: states of the level scores, `[N, ...]`.
        curriculum: state of the curriculum.
        assignment: the levels of the N lifetimes.
        step: meta-steps done.
    """

    theta: Any
    opt_state: Any
    estimator_state: Any
    scores: Any
    curriculum: Any
    assignment: Assignment
    step: Int[Array, ""]
