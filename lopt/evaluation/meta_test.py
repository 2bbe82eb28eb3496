"""Agents trained from scratch under several objectives on the same new levels, compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.agents import (
    DiscoLifetime,
    MeanReturn,
    RLLifetime,
    default_disco_lifetime,
    default_lifetime,
    environment_of,
    episode_returns,
    longest_episode,
)
from lopt.evaluation.statistics import Axis, Interval, Sample, bootstrap, bootstrap_samples, mean, paired_difference
from lopt.evaluation.testers import MetaTester
from lopt.meta import TrainedRule
from lopt.objectives import DiscoRule
from lopt.protocols import Objective
from lopt.training import jit_repeated
from lopt.types import Key, Level

SEEDS_LEVELS = (Axis.NESTED, Axis.CROSSED)
"""Axes of the returns: agent seeds are drawn anew on each level, levels are the same for all rules."""
RANDOM = "random"
"""Name of the row of the uniformly random policy."""


@dataclass(frozen=True, eq=False)
class MetaTestScores:
    """Mean returns of agents after training, `[seeds, levels]`, by rule; equal indices share keys and levels.

    Printed, it is a table of mean returns with 95 % intervals over levels and seeds, and of differences to the first
    rule. With rows named "a2c" and "random", `normalised` gives scores on the scale random = 0, A2C = 1.
    """

    returns: Mapping[str, np.ndarray]

    def mean(self, name: str) -> Interval:
        """Mean return under a rule."""
        return bootstrap(self.returns[name], mean, axes=SEEDS_LEVELS)

    def difference(self, name: str, other: str) -> Interval:
        """Mean return under `name` minus that under `other`, paired by level and seed."""
        return paired_difference(self.returns[name], self.returns[other], mean, axes=SEEDS_LEVELS)

    def normalised(self, name: str, low: str = RANDOM, high: str = "a2c") -> Interval:
        """(mean return - low's) / (high's - low's), of means over levels and seeds."""
        samples = [Sample(self.returns[row], SEEDS_LEVELS) for row in (name, low, high)]
        return bootstrap_samples(normalised, *samples)

    def __str__(self) -> str:
        first = next(iter(self.returns))
        width = max(map(len, self.returns))
        lines = [f"{'rule':<{width}}  {'mean return':<24}  minus {first}"]
        for name in self.returns:
            versus = "" if name == first or self._unpaired(name, first) else str(self.difference(name, first))
            lines.append(f"{name:<{width}}  {self.mean(name)!s:<24}  {versus}".rstrip())
        return "\n".join(lines)

    def _unpaired(self, name: str, other: str) -> bool:
        return self.returns[name].shape != self.returns[other].shape


def normalised(returns: np.ndarray, low: np.ndarray, high: np.ndarray) -> float:
    """(mean of `returns` - mean of `low`) / (mean of `high` - mean of `low`); NaN where low and high have one mean."""
    gap = high.mean() - low.mean()
    return float((returns.mean() - low.mean()) / gap) if gap else float("nan")


def meta_test(
    rules: Mapping[str, Any],
    levels: Callable[[Key], Level],
    *,
    num_levels: int = 1024,
    num_seeds: int = 2,
    num_episodes: int = 16,
    key: Key | None = None,
    lifetimes: Mapping[str, RLLifetime | DiscoLifetime] | None = None,
    batch_size: int = 64,
) -> MetaTestScores:
    """Train agents from scratch under each rule, on the same levels, and measure their returns at the end.

    Example:
        scores = lopt.meta_test({"lpg": result.rule, "a2c": lopt.A2C()}, levels)
        print(scores)

    Args:
        rules: objectives, or trained rules (`TrainedRule`), by name.
        levels: a distribution of levels, with its `environment`.
        num_levels: levels, drawn by `key`.
        num_seeds: agents per level and rule.
        num_episodes: episodes that measure an agent.
        key: of levels and agents; by default one that no other function of lopt uses. Levels are new to a rule as long
            as its training used another key.
        lifetimes: how agents are trained, by the name of the rule; by default with the settings of its card for a rule
            that `lopt.load` returned, else by `lopt.agents.default_lifetime`, for DiscoRL's rule
            `default_disco_lifetime`.
        batch_size: levels at a time.

    Returns:
        The returns, a row of the uniformly random policy among them.

    Raises:
        ValueError: no rules, a rule that is no objective, or sizes below one.
    """
    if not rules:
        raise ValueError("meta_test: expected at least one rule, as {'name': rule} (got none)")
    for name, rule in rules.items():
        _check_rule(repr(name), rule)
    key_levels, key_agents, key_random = jax.random.split(jax.random.key(20_231_002) if key is None else key, 3)
    tester = LevelTester(
        levels=levels,
        num_levels=num_levels,
        num_seeds=num_seeds,
        num_episodes=num_episodes,
        batch_size=batch_size,
        key_levels=key_levels,
        key_agents=key_agents,
    )
    returns = {name: tester(rule, (lifetimes or {}).get(name)) for name, rule in rules.items()}
    returns[RANDOM] = tester.random(key_random, num_episodes * num_seeds)[None]
    return MetaTestScores(returns)


@dataclass(frozen=True, eq=False, kw_only=True)
class LevelTester:
    """Trains agents from scratch on levels drawn once, so that all rules get the same levels and keys.

    Attributes:
        levels: a distribution of levels, with its `environment`.
        num_levels: L, levels.
        num_seeds: S, agents per level and rule.
        num_episodes: episodes that measure an agent.
        key_levels: of the levels.
        key_agents: of the agents.
        batch_size: levels at a time.

    Raises:
        ValueError: sizes below one.
    """

    levels: Callable[[Key], Level]
    num_levels: int
    num_seeds: int
    num_episodes: int
    key_levels: Key
    key_agents: Key
    batch_size: int = 64

    def __post_init__(self) -> None:
        for name in ("num_levels", "num_seeds", "num_episodes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"meta_test: {name} must be at least 1 (got {getattr(self, name)})")

    def __call__(self, rule: Any, lifetime: RLLifetime | DiscoLifetime | None = None) -> np.ndarray:
        """Mean returns `[S, L]` of agents after training under an objective or a trained rule.

        `lifetime` is how agents are trained; by default the rule's own, `rule.lifetime(levels)`, of a rule that
        `lopt.load` returned, else `lopt.agents.default_lifetime` or `default_disco_lifetime`.

        Raises:
            ValueError: a rule that is no objective.
        """
        objective, theta = _parts(rule)
        if lifetime is None:
            lifetime = _default(self.levels, rule, objective)
        measure = MeanReturn(
            env=lifetime.env, policy=lifetime.agent.act, num_episodes=self.num_episodes, max_steps=self._max_steps
        )
        num_updates = int(self._drawn.num_updates.max())
        tester = MetaTester(lifetime=lifetime, num_updates=num_updates, measure=measure, batch_size=self.batch_size)
        keys = jax.random.split(self.key_agents, (self.num_seeds, self.num_levels))
        return np.stack([np.asarray(tester(row, theta, self._drawn).final) for row in keys])

    def random(self, key: Key, num_episodes: int) -> np.ndarray:
        """Mean returns `[L]` of the uniformly random policy over `num_episodes` episodes of each level."""
        env = environment_of(self.levels)
        return random_returns(key, env, self._drawn, num_episodes, self._max_steps, self.batch_size)

    @cached_property
    def _drawn(self) -> Level:
        return jit_repeated(jax.vmap(self.levels))(jax.random.split(self.key_levels, self.num_levels))

    @cached_property
    def _max_steps(self) -> int:
        return longest_episode(self.levels)


def random_returns(
    key: Key, env: Any, levels: Level, num_episodes: int, max_steps: int, batch_size: int = 64
) -> np.ndarray:
    """Mean returns `[L]` of the uniformly random policy on levels `[L]`, over `num_episodes` episodes of each."""

    def one(xs: tuple[Key, Any]) -> jax.Array:
        key, params = xs
        logits = jnp.zeros(env.num_actions)
        return episode_returns(key, env, params, lambda obs: logits, num_episodes, max_steps).mean()

    number = levels.num_updates.shape[0]
    keys = jax.random.split(key, number)
    run = jit_repeated(lambda xs: jax.lax.map(one, xs, batch_size=min(batch_size, number)))
    return np.asarray(run((keys, levels.params)))


def _default(levels: Callable[[Key], Level], rule: Any, objective: Any) -> RLLifetime | DiscoLifetime:
    """How agents are trained under a rule."""
    own = getattr(rule, "lifetime", None)
    if own is not None:
        return own(levels)
    if isinstance(objective, DiscoRule):
        return default_disco_lifetime(levels, objective)
    return default_lifetime(levels, objective)


def _parts(rule: Any) -> tuple[Any, Any]:
    """Objective and meta-parameters."""
    _check_rule("the rule", rule)
    if isinstance(rule, TrainedRule):
        return rule.rule, rule.theta
    return rule, rule.init(jax.random.key(0))


def _check_rule(name: str, rule: Any) -> None:
    objective = rule.rule if isinstance(rule, TrainedRule) else rule
    if isinstance(objective, type) or not isinstance(objective, (Objective, DiscoRule)):
        raise ValueError(f"meta_test: {name} must be an objective or a trained rule (got {type(rule).__name__})")
