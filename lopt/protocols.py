"""The contracts. Everything is written for one learner, one environment, one trajectory: the caller vmaps.

`key` always comes first and is consumed. A method that learns takes `theta` explicitly, so that it can be
differentiated or perturbed. Configuration belongs to the object (a frozen dataclass), state is passed and returned.
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
)


@runtime_checkable
class Environment(Protocol):
    """One environment whose level is data (`params`), so that a batch of different levels is a vmap."""

    @property
    def num_actions(self) -> int:
        """How many discrete actions there are."""
        ...

    def reset(self, key: Key, params: Any) -> tuple[Any, Any]:
        """A fresh episode: `(obs, state)`."""
        ...

    def step(self, key: Key, state: Any, action: Int[Array, ""], params: Any) -> tuple[TimeStep, Any]:
        """One step, and the reset when it ends the episode."""
        ...


@runtime_checkable
class ContinuousEnvironment(Protocol):
    """An `Environment` whose actions are vectors; it has an `action_size` in place of `num_actions`."""

    @property
    def action_size(self) -> int:
        """How many numbers an action has, each meant to lie in [-1, 1]: the environment clips and scales them."""
        ...

    def reset(self, key: Key, params: Any) -> tuple[Any, Any]:
        """A fresh episode: `(obs, state)`."""
        ...

    def step(self, key: Key, state: Any, action: Float[Array, " D"], params: Any) -> tuple[TimeStep, Any]:
        """One step, and the reset when it ends the episode; `action` is `[action_size]`."""
        ...


@runtime_checkable
class Objective(Protocol):
    """A rule for learning from one trajectory `[T, B]`.

    Everything recurrent in time happens once, in `targets`; `loss` is pointwise and then a mean, so that the same
    objective serves a single update and minibatch epochs. (An objective may say that it normalises its weights over
    whatever batch `loss` is given, as PPO does.)
    """

    @property
    def prediction_size(self) -> int:
        """M, the width of the agent's prediction head (0: the agent has none)."""
        ...

    def init(self, key: Key) -> Theta:
        """Meta-parameters; `()` for a rule that has none."""
        ...

    def targets(
        self, theta: Theta, traj: Trajectory, out: AgentOutput, out_next: AgentOutput, progress: Progress
    ) -> Any:
        """Targets `[T, B, ...]` from the outputs on `traj.obs` and `traj.next_obs`.

        To the agent they are constants: its update differentiates `loss` alone. A meta-gradient goes through them.
        """
        ...

    def loss(
        self, theta: Theta, out: AgentOutput, traj: Trajectory, targets: Any, progress: Progress
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss an agent minimises (a scalar), and metrics."""
        ...


@runtime_checkable
class Kernel(Protocol):
    """A convex function K of a momentum (a pytree), the heart of a Lion-K optimizer.

    The optimizer keeps lambda x in the domain of the conjugate K*(y) = sup_m <m, y> - K(m), and there minimises the
    loss plus K*(lambda x) / lambda; lambda is the weight decay.
    """

    def map(self, m: PyTree) -> PyTree:
        """A subgradient of K at m, a tree like m; where there are many, the one that is zero at zero."""
        ...

    def value(self, m: PyTree) -> Float[Array, ""]:
        """K(m)."""
        ...

    def conjugate(self, y: PyTree) -> Float[Array, ""]:
        """K*(y); infinity outside its domain, up to rounding."""
        ...

    def distance(self, y: PyTree) -> Float[Array, ""]:
        """How far y is outside the domain of K*, in a norm of the kernel's; zero inside."""
        ...


@runtime_checkable
class LearnedOptimizer(Protocol):
    """A family of optimizers, one for every theta.

    Its transformations take, besides whatever they ignore, these keyword arguments in `update`, all of them optional:
    `value` (the loss of the gradient), `progress` (a `Progress`: updates done, updates planned), `batch_fraction` (the
    part of the epoch that is over), `dormancy` (a tree like the parameters, whose leaves broadcast to theirs: the
    activity of the neuron a parameter feeds, relative to its layer's mean), `explore` (a prefix of that tree: which
    parameters may be moved by noise) and `key` (for that noise). Without them a rule assumes what its docstring says.
    """

    def init(self, key: Key) -> Theta:
        """Meta-parameters; `()` for an optimizer that has none."""
        ...

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optimizer of theta, differentiable in theta."""
        ...


@runtime_checkable
class Task(Protocol):
    """Something to be learned by gradient descent; `variation` is what one level has of its own, as data."""

    def sample(self, key: Key) -> Any:
        """A variation; `()` where there is only one."""
        ...

    def init(self, key: Key, variation: Any) -> Params:
        """Parameters of a newborn learner."""
        ...

    def batch(self, key: Key, variation: Any, *, held_out: bool) -> Any:
        """A minibatch, of the training data or of data that is never trained on."""
        ...

    def loss(self, variation: Any, params: Params, batch: Any) -> TaskLoss:
        """The mean loss of a batch, metrics, and what the optimizer is told."""
        ...


@runtime_checkable
class Lifetime(Protocol):
    """One learner on one level, differentiable in theta."""

    def init(self, key: Key, theta: Theta, level: Level) -> Any:
        """A newborn learner."""
        ...

    def step(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Any, Metrics]:
        """One inner update; returns the state unchanged once `age(state) >= level.lifetime`."""
        ...

    def meta_loss(self, key: Key, theta: Theta, level: Level, state: Any) -> tuple[Float[Array, ""], Any, Metrics]:
        """How bad the learner is now: `(loss, state, metrics)`; the state carries what the measurement updated."""
        ...

    def age(self, state: Any) -> Int[Array, ""]:
        """Inner updates done."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """Estimates the gradient of the mean meta-loss over N lifetimes; knows nothing but `Lifetime`.

    Every leaf of `state.lives` has the lifetimes as leading axis, so that finished ones can be replaced; `state.shared`
    (a search distribution, a count) belongs to all of them and stays. In the metrics of the updates NaN stands for
    "not measured".
    """

    def init(self, key: Key, theta: Theta, levels: Level) -> EstimatorState:
        """State for the lifetimes that start on `levels` `[N]`."""
        ...

    def estimate(
        self, key: Key, theta: Theta, levels: Level, state: EstimatorState
    ) -> tuple[Theta, EstimatorState, EstimatorMetrics]:
        """`(gradient, state, metrics)`: the gradient descends the loss."""
        ...

    def learners(self, state: EstimatorState) -> Any:
        """The learners' states `[N]`."""
        ...

    def age(self, state: EstimatorState) -> Int[Array, " N"]:
        """Inner updates each lifetime has done."""
        ...


@runtime_checkable
class Curriculum(Protocol):
    """Decides which level a lifetime that starts now will play."""

    def init(self, key: Key, num_lifetimes: int) -> tuple[Any, Assignment]:
        """An empty memory and the first assignment."""
        ...

    def exchange(
        self,
        key: Key,
        state: Any,
        assignment: Assignment,
        scores: Float[Array, " N"],
        finished: Bool[Array, " N"],
    ) -> tuple[Any, Assignment]:
        """Record the scores of the finished lifetimes and give them new levels, in one step; others stay untouched.

        A score of minus infinity or NaN means "not measured" and is not recorded.
        """
        ...

    def metrics(self, state: Any) -> Metrics:
        """Scalars worth logging."""
        ...


@runtime_checkable
class Score(Protocol):
    """How much a level is worth playing again, for one lifetime."""

    def init(self, key: Key, level: Level) -> Any:
        """State at birth."""
        ...

    def advance(self, key: Key, level: Level, state: Any, metrics: Metrics) -> Any:
        """Goes along with the lifetime's K updates; `metrics` are theirs, `[K, ...]`."""
        ...

    def score(self, key: Key, level: Level, learner: Any, state: Any) -> Float[Array, ""]:
        """Read once, when the lifetime has ended; minus infinity for "not measured"."""
        ...


@runtime_checkable
class SequenceModel(Protocol):
    """A learner whose learning is its forward pass: it reads examples and predicts, and theta stays as it is.

    Written for one sequence; the caller vmaps. No output depends on a later input, nor on its own label.
    """

    def init(self, key: Key) -> Theta:
        """Meta-parameters: nested dicts of arrays."""
        ...

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions of y_t (logits, means, ...) from x_1 ... x_t and y_1 ... y_{t-1}.

        `ys_prev[t]` is y_{t-1} as a vector (one-hot for a class); the first is zero.

        Raises:
            ValueError: a sequence that is longer than the model can read, or vectors of another width.
        """
        ...

    def state_size(self, length: int) -> int:
        """How many numbers it keeps of `length` examples."""
        ...


@runtime_checkable
class SequenceTask(Protocol):
    """A distribution over tasks to be learned in context; a task is data, small enough to be a level."""

    def sample(self, key: Key) -> Any:
        """A task."""
        ...

    def context(self, key: Key, task: Any, *, held_out: bool) -> Context:
        """A sequence of examples of it, of the training data or of data that is never trained on."""
        ...

    def losses(
        self, task: Any, outputs: Float[Array, "T F"], targets: Any
    ) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        """The loss at every position, and metrics at every position."""
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
