"""Protocols of lopt. All are written for one learner, one environment, one trajectory; the caller vmaps.

`key` is the first argument and is consumed. Methods that depend on meta-parameters take `theta` as an argument, so that
it can be differentiated or perturbed. Configuration belongs to the object (a frozen dataclass); state is passed and
returned.
"""

from typing import Any, Protocol, runtime_checkable

import optax
from jaxtyping import Array, Bool, Float, Int

from lopt.types import (
    AgentOutput,
    Assignment,
    Context,
    EstimatorMetrics,
    EstimatorState,
    Key,
    Level,
    Metrics,
    Params,
    Progress,
    PyTree,
    TaskLoss,
    Theta,
    TimeStep,
    Trajectory,
    UpdateInfo,
)


@runtime_checkable
class Environment(Protocol):
    """An environment with discrete actions whose level is data (`params`), so that different levels can be vmapped."""

    @property
    def num_actions(self) -> int:
        """A, the number of discrete actions."""
        ...

    def reset(self, key: Key, params: Any) -> tuple[Any, Any]:
        """Start an episode on the level `params`; returns `(obs, state)`."""
        ...

    def step(self, key: Key, state: Any, action: Int[Array, ""], params: Any) -> tuple[TimeStep, Any]:
        """One step on the level `params`, followed by a reset if it ended the episode; returns `(timestep, state)`."""
        ...


@runtime_checkable
class ContinuousEnvironment(Protocol):
    """An environment whose actions are real vectors; like `Environment`, with `action_size` for `num_actions`."""

    @property
    def action_size(self) -> int:
        """A, the number of entries of an action, each in [-1, 1]; the environment scales them to its own range."""
        ...

    def reset(self, key: Key, params: Any) -> tuple[Any, Any]:
        """Start an episode on the level `params`; returns `(obs, state)`."""
        ...

    def step(self, key: Key, state: Any, action: Float[Array, " D"], params: Any) -> tuple[TimeStep, Any]:
        """One step on the level `params`, followed by a reset if it ended the episode; returns `(timestep, state)`."""
        ...


@runtime_checkable
class Objective(Protocol):
    """An RL objective: targets from one trajectory `[T, B]`, and the loss that an agent minimises on them.

    Everything recurrent in time is computed once, in `targets`; `loss` is pointwise followed by a mean, so that one
    objective serves a single update and minibatch epochs. An objective may normalise its advantages over the batch that
    `loss` is given, as PPO does; it then documents it.
    """

    @property
    def prediction_size(self) -> int:
        """M, the width of the agent's prediction; 0 for an agent without predictions."""
        ...

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters; `()` for an objective without any."""
        ...

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> Any:
        """Targets `[T, B, ...]` for `loss`.

        They are constants for the agent, whose update differentiates `loss` alone; a meta-gradient flows through them.

        Args:
            theta: meta-parameters.
            traj: a rollout `[T, B, ...]`.
            out: the agent's outputs on `traj.obs`.
            out_next: the agent's outputs on `traj.next_obs`.
            progress: the learner's progress before this update.
        """
        ...

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: Any, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """The agent's loss, a scalar to be minimised, and metrics.

        Args:
            theta: meta-parameters.
            out: the agent's outputs on `traj.obs`; the loss is differentiated in these.
            traj: the rollout, or a minibatch of it.
            targets: what `targets` returned, or the same minibatch of it.
            progress: the learner's progress before this update.
        """
        ...


@runtime_checkable
class Kernel(Protocol):
    """A convex function K of the momentum m (a pytree) that defines a Lion-K optimizer.

    With weight decay lambda, the optimizer minimises f(x) + K*(lambda x) / lambda, with the convex conjugate
    K*(y) = sup_m <m, y> - K(m); lambda x is driven into the domain of K* and stays there.

    Paper: arXiv 2310.05898.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K at m, a tree like m; zero at m = 0."""
        ...

    def value(self, m: PyTree) -> Float[Array, ""]:
        """The value K(m), a scalar."""
        ...

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """The convex conjugate K*(y); infinity outside its domain, up to rounding."""
        ...

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """Distance of y from the domain of K*, in a norm that the kernel documents; zero inside."""
        ...


@runtime_checkable
class LearnedOptimizer(Protocol):
    """A family of optimizers with meta-parameters theta, each an optax transformation.

    The transformation's `update` accepts these optional extra arguments, and ignores others. Each optimizer documents
    what it assumes for one that is not given.

        value           the loss whose gradient is given
        progress        a `Progress`: updates done, updates planned
        batch_fraction  where several passes are made over the same data: how many of the passes are done, from 0 in the
                        first to 1 in the last
        layer_position  a tree of numbers like the parameters: the position of a tensor's layer in its network, from 0
                        for the first layer to 1 for the last (`lopt.optimizers.layer_positions`)
        dormancy        a tree like the parameters, whose leaves broadcast to theirs: the activity of the neuron that a
                        parameter feeds, relative to its layer's mean (`lopt.nets.dormancy`)
        explore         a prefix of that tree: which parameters exploration noise may be added to
        key             the PRNG key of that noise
    """

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters; `()` for an optimizer without any."""
        ...

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optimizer with meta-parameters theta, as an optax transformation that is differentiable in theta."""
        ...


@runtime_checkable
class Task(Protocol):
    """A distribution over supervised tasks to be learned by gradient descent; a task instance is data."""

    def sample(self, key: Key) -> Any:
        """Sample a task instance; `()` for a distribution with a single one."""
        ...

    def init(self, key: Key, instance: Any) -> Params:
        """Initial parameters of a learner."""
        ...

    def batch(self, key: Key, instance: Any, *, held_out: bool) -> Any:
        """Sample a minibatch of the training data, or of the held-out data."""
        ...

    def loss(self, instance: Any, params: Params, batch: Any) -> TaskLoss:
        """`(loss, (metrics, extra_args))`: the batch's mean loss, metrics, and extra arguments of the optimizer."""
        ...


@runtime_checkable
class Lifetime(Protocol):
    """The training of one inner learner on one level, from initialisation to its last update.

    It is differentiable in theta, except where an implementation says that its meta-loss is not.
    """

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """An initial learner.

        Raises:
            ValueError: a `level.num_updates` that is known and below one.
        """
        ...

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, UpdateInfo]:
        """One inner update; returns `(state, info)`.

        The state is returned unchanged where `level.active(age(state))` is False.
        """
        ...

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """The meta-loss of the learner; returns `(loss, state, metrics)`.

        The returned state has the same learner; environments and value baselines may have advanced.
        """
        ...

    def age(self, state: Any) -> Int[Array, ""]:
        """n, the inner updates done."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """An estimator of the gradient in theta of the mean meta-loss over N lifetimes.

    It uses the `Lifetime` protocol alone. Every leaf of `state.per_lifetime` has the lifetimes as leading axis, so that
    finished ones can be replaced; `state.shared` (a search distribution, a count) belongs to all of them and is kept.
    In the metrics of the updates, NaN means "not measured".
    """

    @property
    def lifetime(self) -> Lifetime:
        """The lifetimes that it advances."""
        ...

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """Initial state, with an initial learner on each of the `levels` `[N]`."""
        ...

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """Advance the N lifetimes by K updates; returns `(gradient, state, metrics)`.

        The gradient is that of a loss to be minimised.
        """
        ...

    def learners(self, state: EstimatorState) -> Any:
        """The learner states, leaves `[N, ...]`."""
        ...

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """n, the inner updates done in each lifetime."""
        ...


@runtime_checkable
class Curriculum(Protocol):
    """A curriculum: chooses the level of each lifetime that starts."""

    def init(self, key: Key, num_lifetimes: int) -> tuple[Any, Assignment]:
        """The state with an empty buffer, and levels for the first N lifetimes."""
        ...

    def exchange(
        self,
        key: Key,
        state: Any,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[Any, Assignment]:
        """Record the scores of finished lifetimes and assign new levels to their places; one atomic operation.

        The assignment of unfinished lifetimes is unchanged. A score of minus infinity or NaN means "not measured" and
        is not recorded.
        """
        ...

    def metrics(self, state: Any) -> Metrics:
        """Scalar metrics of the curriculum, for the log."""
        ...


@runtime_checkable
class Score(Protocol):
    """A level score, for one lifetime: the priority with which its level is replayed.

    A score that reads what updates report has a class attribute `requires`, the type of `UpdateInfo.scores` that it
    needs; a lifetime has `score_type`, the type that it gives. `MetaLearner` refuses a pair that does not fit.
    """

    def init(self, key: Key, level: Level) -> Any:
        """The state of the score at the start of a lifetime."""
        ...

    def advance(self, key: Key, level: Level, state: Any, updates: Any) -> Any:
        """The state after K more updates of the lifetime, from their `UpdateInfo.scores`, leaves `[K, ...]`."""
        ...

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """The score, computed once at the end of the lifetime; minus infinity for "not measured"."""
        ...


@runtime_checkable
class SequenceModel(Protocol):
    """An in-context learner: a causal sequence model that predicts labels from the examples before; theta is fixed.

    Written for one sequence. An output depends on no later input and not on its own label.
    """

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters: nested dicts of arrays."""
        ...

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions of y_t (logits, means, ...) from x_1 ... x_t and y_1 ... y_{t-1}.

        Args:
            theta: meta-parameters.
            xs: inputs x_t.
            ys_prev: y_{t-1} as a vector (one-hot for a class); the first is zero.

        Raises:
            ValueError: a sequence longer than the model's maximal length, or vectors of another width.
        """
        ...

    def state_size(self, length: int) -> int:
        """Size of the model's state after `length` examples, in numbers (recurrent state, or keys and values)."""
        ...


@runtime_checkable
class SequenceTask(Protocol):
    """A distribution over tasks to be learned in context; a task instance is data, small enough to be a level."""

    def sample(self, key: Key) -> Any:
        """Sample a task instance."""
        ...

    def context(self, key: Key, task: Any, *, held_out: bool) -> Context:
        """Sample a sequence of T examples of the task, from the training data or from the held-out data."""
        ...

    def losses(
        self, task: Any, outputs: Float[Array, "T F"], targets: Any
    ) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        """The loss, and metrics, at every position."""
        ...


__all__ = [
    "ContinuousEnvironment",
    "Curriculum",
    "Environment",
    "Estimator",
    "Kernel",
    "LearnedOptimizer",
    "Lifetime",
    "Objective",
    "Score",
    "SequenceModel",
    "SequenceTask",
    "Task",
]
