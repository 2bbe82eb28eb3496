"""The suites of control: PPO agents under drifts and optimizers, and agents under objectives, in gymnax and Brax."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lopt
from experiments.agents.env_setup import EnvSetup, env_setup
from experiments.agents.settings import InnerConfig
from experiments.suites.candidates import Candidate
from experiments.suites.suite import Scores, between
from lopt import nets
from lopt.agents import LearnedOptimizerLifetime, MeanReturn, PPOLifetime, RLLifetime, TrainableNet, episode_returns
from lopt.evaluation import MetaTester
from lopt.objectives import A2C, DPO, Clip, Drift
from lopt.optimizers import FromOptax
from lopt.protocols import LearnedOptimizer, Lifetime
from lopt.training import jit_once, jit_repeated
from lopt.types import Gaussian, Key, Theta

RANDOM = "random"
BASELINES: dict[str, Any] = {RANDOM: None, "dpo": DPO(), "a2c": A2C(), "lion": lopt.lion, "ppo": Clip()}
"""PPO, DPO and A2C with Adam, PPO with Lion, and the random policy."""
DEFAULT_TASKS = {
    "control": ("CartPole-v1", "Acrobot-v1"),
    "brax": ("brax/ant", "brax/humanoid", "brax/walker2d", "brax/hopper"),
}


@dataclass(frozen=True, eq=False)
class Training:
    """How the agents of a rule are trained: a lifetime whose theta is the learning rate, and the rates to choose from.

    Without rates, theta is empty.
    """

    lifetime: Lifetime
    rates: tuple[float, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ControlSuite:
    """Agents trained from scratch in environments; a score is the mean return at the end.

    A drift is that of a PPO agent with Adam; a learned optimizer and a program are the optimizer of a PPO agent; an
    objective trains an agent of networks with Adam, one update per rollout. Every Adam and Lion has its rate tuned for
    its rule and environment, over the same grid, with other seeds, and decays linearly to zero. So has a learned
    optimizer with a learning rate, and the factor on the schedule of a program; others are used as they are.

    Attributes:
        tasks: environments (`experiments.cli.environments`).
        num_seeds: agents per rule.
        num_episodes: episodes that measure an agent.
        inner: settings of the agents.
        rates: the grid of learning rates.
        tuning_seeds: agents by which a rate is chosen.
        seed: of the agents.
    """

    tasks: tuple[str, ...]
    num_seeds: int
    num_episodes: int
    inner: InnerConfig
    rates: tuple[float, ...]
    tuning_seeds: int
    seed: int

    kinds = ("drift", "optimizer", "program", "objective")
    required = (RANDOM, "ppo")
    measure = "mean return after training"
    scale = "random = 0, PPO with tuned Adam = 1"

    def __post_init__(self) -> None:
        _ = self._setups  # an unknown environment, or an extra that is not installed, ends the run before it starts

    @property
    def baselines(self) -> Mapping[str, Any]:
        """Baselines by name."""
        return BASELINES

    @cached_property
    def _setups(self) -> dict[str, EnvSetup]:
        return {task: env_setup(task, self.inner.settings(task)) for task in self.tasks}

    def scores(self, candidate: Candidate, task: str) -> Scores:
        """Mean returns `[seeds, 1]` of agents after training."""
        setup = self._setups[task]
        key_agents, key_tuning, key_random = jax.random.split(
            jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(task.encode())), 3
        )
        if candidate.name == RANDOM:
            return Scores(self._random(key_random, setup)[:, None])
        training = self._training(candidate, setup)
        tester = _tester(setup, training.lifetime, self.num_episodes)
        theta: Any = ()
        tuned = {}
        if training.rates:
            keys = jax.random.split(key_tuning, self.tuning_seeds)
            runs = [np.nan_to_num(tester(keys, np.float32(rate)), nan=-np.inf).mean() for rate in training.rates]
            best = int(np.argmax(runs))
            theta = np.float32(training.rates[best])
            tuned = {"learning_rate": float(theta), "at_edge": best in (0, len(runs) - 1)}
        return Scores(tester(jax.random.split(key_agents, self.num_seeds), theta)[:, None], tuned)

    def check(self, candidate: Candidate) -> None:
        """Check that objectives have discrete actions.

        Raises:
            ValueError: an objective, or A2C, in an environment with real actions.
        """
        real = [name for name, setup in self._setups.items() if _action_size(setup) is not None]
        if real and (candidate.kind == "objective" or candidate.name == "a2c"):
            raise ValueError(f"{candidate.name} trains agents with discrete actions (those of {real[0]} are real)")

    def normalised(self, values: np.ndarray, required: Mapping[str, np.ndarray]) -> np.ndarray:
        """random = 0, PPO = 1, of their means on the task."""
        return between(values, required[RANDOM], required["ppo"])

    def _training(self, candidate: Candidate, setup: EnvSetup) -> Training:
        value, s = candidate.value, setup.settings
        drift: Drift = Clip()
        steps = s.num_updates * s.epochs * s.num_minibatches
        if candidate.name == "a2c" or candidate.kind == "objective":
            objective, theta = (value, ()) if candidate.kind == "baseline" else (value.rule, value.theta)
            make: Any = partial(_network_agent, setup, objective)
            rule = _by_rate(setup.adam, s.num_updates)
            return Training(LearnedOptimizerLifetime(rule=rule, make=make, objective_theta=theta), self.rates)
        if candidate.kind in ("optimizer", "program"):
            rule, rates = candidate.optimizer(partial(_linear, steps)), candidate.rates(self.rates)
        else:
            rule, rates = _by_rate(value if candidate.name == "lion" else setup.adam, steps), self.rates
            if candidate.name != "lion":
                drift = value if candidate.kind == "baseline" else _Bound(value)
        make = partial(_ppo_agent, setup, drift, self.num_episodes)
        return Training(LearnedOptimizerLifetime(rule=rule, make=make), rates)

    def _random(self, key: Key, setup: EnvSetup) -> np.ndarray:
        """Mean returns `[seeds]` of uniform actions; real ones are standard normal, clipped to [-1, 1]."""
        size = _action_size(setup)
        policy: Any = (
            jnp.zeros(setup.env.num_actions)
            if size is None
            else Gaussian(mean=jnp.zeros(size), log_std=jnp.zeros(size))
        )

        def one(key: Key) -> jax.Array:
            key_level, key_episodes = jax.random.split(key)
            params = setup.levels(key_level).params
            returns = episode_returns(
                key_episodes, setup.env, params, lambda obs: policy, self.num_episodes, setup.max_steps
            )
            return returns.mean()

        return np.asarray(jit_repeated(jax.vmap(one))(jax.random.split(key, self.num_seeds)))


@dataclass(frozen=True, eq=False)
class _Bound:
    """A loaded drift as a drift without meta-parameters."""

    loaded: Any

    @property
    def time_aware(self) -> bool:
        """Whether it depends on the learner's progress."""
        return self.loaded.time_aware

    def init(self, key: Key) -> Theta:
        """`()`: its meta-parameters are bound."""
        return ()

    def __call__(self, theta: Theta, log_ratio: Any, advantage: Any, progress: Any) -> Any:
        """f(r, A)."""
        return self.loaded(log_ratio, advantage, progress)


def _linear(steps: int, rate: Any, count: Any) -> Any:
    """A learning rate that decays linearly to zero."""
    return rate * (1 - count / steps)


def _by_rate(make: Callable[[Any], Any], steps: int) -> LearnedOptimizer:
    """An optimizer whose theta is its learning rate, which decays linearly to zero."""
    return FromOptax(lambda rate: make(partial(_linear, steps, rate)))


def _action_size(setup: EnvSetup) -> int | None:
    """The number of entries of a real action; None for discrete ones."""
    return getattr(setup.env, "action_size", None)


def _ppo_agent(setup: EnvSetup, drift: Drift, episodes: int, optimizer: Any) -> PPOLifetime:
    return setup.lifetime(drift, episodes, optimizer, anneal=False)


def _network_agent(setup: EnvSetup, objective: Any, optimizer: Any) -> RLLifetime:
    s = setup.settings
    clipped = optax.chain(optax.clip_by_global_norm(s.max_norm), optimizer)
    module = partial(TrainableNet, net=partial(nets.MLP, s.hidden), optimizer=clipped)
    return RLLifetime(
        env=setup.env,
        objective=objective,
        policy=module,
        prediction=module,
        num_envs=s.num_envs,
        rollout_length=s.rollout_length,
    )


def _tester(setup: EnvSetup, lifetime: Lifetime, episodes: int) -> Callable[[Key, Theta], np.ndarray]:
    """A function from keys `[seeds]` and theta to the mean returns `[seeds]` of agents after training."""
    inner: Any = lifetime
    if isinstance(lifetime, LearnedOptimizerLifetime):
        inner = lifetime.make(optax.with_extra_args_support(optax.identity()))
    evaluate = MeanReturn(env=setup.env, policy=inner.agent.act, num_episodes=episodes, max_steps=setup.max_steps)
    tester = MetaTester(lifetime=lifetime, num_updates=setup.settings.num_updates, measure=evaluate)
    sample = jit_once(jax.vmap(setup.levels))

    def run(keys: Key, theta: Theta) -> np.ndarray:
        split = jax.vmap(jax.random.split)(keys)
        return np.asarray(tester(split[:, 1], theta, sample(split[:, 0])).final)

    return run
