"""What `lopt.load` returns: rules with their meta-parameters, ready for use in other code."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from lopt.agents import Agent, AgentState, MeanReturn, RLLifetime, default_lifetime, longest_episode
from lopt.meta import TrainedRule
from lopt.objectives import Drift, bind_drift
from lopt.rules.numpy_forms import NumpyDrift, NumpyOptimizer, drift_source, numpy_drift
from lopt.types import Key, Level, Progress, Theta


class LoadedOptimizer(optax.GradientTransformationExtraArgs):
    """A learned optimizer or a program as an optax transformation, complete with its step size and sign.

    It is used like `optax.adam(rate)`: alone, or in `optax.chain` after clipping.
    """

    numpy_form: Callable[[], NumpyOptimizer] | None
    text: str | None

    def __new__(cls, init: Any, update: Any, *, numpy_form: Any = None, text: str | None = None) -> "LoadedOptimizer":
        """A transformation; the other forms of the rule are optional."""
        self = super().__new__(cls, init, update)
        self.numpy_form, self.text = numpy_form, text
        return self

    def to_numpy(self) -> NumpyOptimizer:
        """The optimizer as `init` and `update` of lists of numpy arrays, in float64.

        Raises:
            ValueError: an optimizer without such a form.
        """
        if self.numpy_form is None:
            raise ValueError("to_numpy: this optimizer has no numpy form (programs and AdafactorRule have one)")
        return self.numpy_form()

    def source(self) -> str:
        """The text of a program, which `lopt.from_program` takes.

        Raises:
            ValueError: an optimizer that is no program.
        """
        if self.text is None:
            raise ValueError("source: a learned optimizer is a network and has no text; programs have one")
        return self.text


@dataclass(frozen=True, eq=False)
class LoadedDrift:
    """A drift as a function of arrays, for `lopt.ppo_loss` or a PPO of one's own.

        loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, lopt.load("lpo-cartpole"))

    Attributes:
        drift: the drift.
        theta: its meta-parameters.
    """

    drift: Drift
    theta: Theta

    @property
    def time_aware(self) -> bool:
        """Whether it depends on the learner's progress."""
        return self.drift.time_aware

    def __call__(
        self, log_ratio: Float[Array, "*b"], advantage: Float[Array, "*b"], progress: Progress | None = None
    ) -> Float[Array, "*b"]:
        """f(log r, A), entry by entry.

        Args:
            log_ratio: log r.
            advantage: A, normalised as in PPO.
            progress: the learner's progress, for a time-aware drift.

        Raises:
            ValueError: a time-aware drift without progress.
        """
        return bind_drift(self.drift, self.theta)(log_ratio, advantage, progress)

    def to_numpy(self) -> NumpyDrift:
        """The drift as a function `(log_ratio, advantage, progress=None)` of numpy arrays, in float64.

        `progress` is the pair (updates done, updates planned).

        Raises:
            ValueError: a drift without such a form.
        """
        return numpy_drift(self.drift, self.theta)

    def source(self) -> str:
        """The text of a Python module with this drift, which needs numpy alone (`lopt.rules.numpy_forms`).

        Raises:
            ValueError: a drift without such a text.
        """
        return drift_source(self.drift, self.theta)


@dataclass(frozen=True, eq=False)
class TrainedAgent:
    """An agent after its training.

    Attributes:
        agent: its policy and prediction modules.
        state: their parameters.
    """

    agent: Agent
    state: AgentState

    def policy(self, obs: Any) -> Float[Array, " A"]:
        """The policy's logits at one observation."""
        return self.agent.act(self.state, obs)

    def act(self, key: Key, obs: Any) -> jax.Array:
        """An action sampled at one observation."""
        return jax.random.categorical(key, self.policy(obs))


@dataclass(frozen=True, eq=False)
class LoadedObjective(TrainedRule):
    """An RL objective with its meta-parameters: `rule` and `theta` for a loop of one's own, `train` for lopt's.

    It stands where a `TrainedRule` does: in `lopt.meta_test`, and as the rule that `lopt.groove` goes on from. Both
    then train agents with the settings of its card.

    Attributes:
        rule: the objective.
        theta: its meta-parameters.
        agent: arguments of `lopt.agents.default_lifetime` that it was meta-trained with: the learning rates of tables
            (`policy_rate`, `prediction_rate`) and sizes.
    """

    agent: dict[str, Any] = field(default_factory=dict)

    def lifetime(self, levels: Callable[[Key], Level], **changes: Any) -> RLLifetime:
        """The training of an agent that fits these levels: a table of their state indices, or a network.

        `changes` override the rule's own settings (`lopt.agents.default_lifetime`).
        """
        return default_lifetime(levels, self.rule, **(self.agent | changes))

    def train(
        self,
        levels: Any,
        key: Key,
        *,
        num_updates: int,
        lifetime: RLLifetime | None = None,
        level: Any = None,
        num_measurements: int = 10,
        num_episodes: int = 16,
        max_steps: int | None = None,
    ) -> tuple[TrainedAgent, np.ndarray]:
        """Train an agent from scratch under this rule.

        Example:
            agent, returns = lopt.load("lpg-grid-a2c").train(envs.gridworld.All(), jax.random.key(0), num_updates=50)

        Args:
            levels: a distribution of levels with its `environment` (every environment of `envs` is one of its default
                level), from which one level is drawn; or an `Environment`, with `level`.
            key: of level, agent and episodes.
            num_updates: N, updates of the agent; also the N of a time-aware rule.
            lifetime: how the agent is built and trained; by default `self.lifetime(levels)`.
            level: parameters of the level to train on, instead of a drawn one.
            num_measurements: how often the return is measured during training, at even distances.
            num_episodes: episodes of a measurement.
            max_steps: bound on the steps of an episode; by default the levels' own.

        Returns:
            The agent, and mean returns `[num_measurements + 1]` over fresh episodes: at initialisation, and after every
            `ceil(num_updates / num_measurements)` updates, the last after N (fewer where N is not a multiple).

        Raises:
            ValueError: numbers below one, an environment without `level`, or without a bound on its episodes.
        """
        numbers = {"num_updates": num_updates, "num_measurements": num_measurements, "num_episodes": num_episodes}
        for name, value in numbers.items():
            if value < 1:
                raise ValueError(f"train: {name} must be at least 1 (got {value})")
        levels = _distribution(levels, level)
        lifetime = self.lifetime(levels) if lifetime is None else lifetime
        evaluate = MeanReturn(
            env=lifetime.env,
            policy=lifetime.agent.act,
            num_episodes=num_episodes,
            max_steps=longest_episode(levels) if max_steps is None else max_steps,
        )
        block = -(-num_updates // num_measurements)
        state, returns = _train(lifetime, levels, evaluate, block, -(-num_updates // block))(
            key, jax.tree.map(jnp.asarray, self.theta), jnp.asarray(num_updates, jnp.int32)
        )
        return TrainedAgent(lifetime.agent, state.agent), np.asarray(returns)


def _train(
    lifetime: RLLifetime, levels: Callable[[Key], Level], evaluate: MeanReturn, block: int, num_blocks: int
) -> Callable[[Key, Theta, Array], tuple[Any, Array]]:
    """A compiled function from key, theta and N to the last state and the returns before and after each block."""

    def run(key: Key, theta: Theta, num_updates: Array) -> tuple[Any, Array]:
        key_level, key_init, key_first, key_blocks = jax.random.split(key, 4)
        drawn = levels(key_level).replace(num_updates=num_updates)
        initial = lifetime.init(key_init, theta, drawn)

        def update(state: Any, key: Key) -> tuple[Any, None]:
            return lifetime.step(key, theta, drawn, state)[0], None

        def measured(state: Any, key: Key) -> tuple[Any, Array]:
            key_updates, key_measure = jax.random.split(key)
            state, _ = jax.lax.scan(update, state, jax.random.split(key_updates, block))
            return state, evaluate(key_measure, drawn, state)

        first = evaluate(key_first, drawn, initial)
        state, returns = jax.lax.scan(measured, initial, jax.random.split(key_blocks, num_blocks))
        return state, jnp.concatenate([first[None], returns])

    return jax.jit(run)


@dataclass(frozen=True, eq=False)
class OneLevel:
    """The distribution of a single level of an environment.

    Attributes:
        environment: the environment.
        params: parameters of the level.
        max_steps: the longest episode; None if the environment does not say.
    """

    environment: Any
    params: Any
    max_steps: Any

    def __call__(self, key: Key) -> Level:
        """The level; `train` sets its number of updates."""
        return Level(params=self.params, num_updates=jnp.ones((), jnp.int32))


def _distribution(levels: Any, level: Any) -> Any:
    environment = getattr(levels, "environment", None)
    if level is None:
        if environment is None or not callable(levels):
            raise ValueError(
                "train: expected a distribution of levels with its `environment`, such as envs.gridworld.All(), or an "
                f"environment and level=<its parameters> (got {type(levels).__name__} without a level)"
            )
        return levels
    environment = levels if environment is None else environment
    return OneLevel(environment, level, getattr(levels, "max_steps", None))
