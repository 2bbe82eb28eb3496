"""What a rule is worth: agents trained from scratch on held-out levels, beside A2C, random and optimal."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from envs.gridworld import TabularView, optimal_return, random_return
from experiments.common.compiling import often, once
from experiments.common.stats import Interval
from experiments.gridworld.build import Study
from experiments.gridworld.config import StudyConfig
from lopt.agents import MeanReturn, RLLifetime, episode_returns, live
from lopt.types import Key, Level, Theta

HELD_OUT_CURVE, HELD_OUT_TABLE = 1, 3
"""Which held-out levels: those of the learning curve, or those of the final table. Training draws others."""


def held_out(config: StudyConfig, study: Study, which: int, number: int) -> Level:
    """`number` levels `[L]` that depend on nothing but the level distribution (not on the run's seed)."""
    key = jax.random.fold_in(jax.random.key(20_231_002), which)
    return once(jax.vmap(study.distribution))(jax.random.split(key, number))


@dataclass(frozen=True)
class Gauge:
    """Trains agents on levels and measures them; compiled once per algorithm.

    Attributes:
        study: what is measured.
        lifetime_bound: the longest life among the levels.
        episodes: episodes per agent.
        side_by_side: levels that are trained on at once.
    """

    study: Study
    lifetime_bound: int
    episodes: int
    side_by_side: int = 32

    def returns(self, lifetime: RLLifetime) -> Callable[[Key, Theta, Level], jax.Array]:
        """A jitted `(key, theta, levels [L]) -> mean returns [L]` of agents after their whole life."""
        measure = MeanReturn(lifetime.env, lifetime.agent.act, self.episodes, self.study.max_steps)

        def one(theta, key, level):
            key_life, key_measure = jax.random.split(key)
            grown = live(key_life, lifetime, theta, level, self.lifetime_bound)
            return measure(key_measure, level, grown)

        def many(key, theta, levels):
            number = levels.lifetime.shape[0]
            keys = jax.random.split(key, number)
            size = min(self.side_by_side, number)
            return jax.lax.map(lambda x: one(theta, *x), (keys, levels), batch_size=size)

        return often(many)

    def random(self, key: Key, levels: Level) -> jax.Array:
        """Mean returns `[L]` of the uniformly random policy: exact on tabular levels, else over many episodes."""
        env = self.study.lifetime.env
        if isinstance(env.view, TabularView):
            return often(partial(jax.lax.map, partial(random_return, env)))(levels.params)

        def one(key, level):
            uniform = jnp.zeros(env.num_actions)
            played = episode_returns(
                key, env, level.params, lambda obs: uniform, 16 * self.episodes, self.study.max_steps
            )
            return played.mean()

        return often(jax.vmap(one))(jax.random.split(key, levels.lifetime.shape[0]), levels)


def optimal(study: Study, levels: Level) -> np.ndarray | None:
    """Exact optimal returns `[L]`; None where the levels are not tabular."""
    env = study.lifetime.env
    if not isinstance(env.view, TabularView):
        return None
    return np.asarray(often(partial(jax.lax.map, partial(optimal_return, env)))(levels.params))


def normalised(returns: np.ndarray, random: np.ndarray, a2c: np.ndarray) -> float:
    """(mean return - random's) / (A2C's - random's), of means over levels and seeds: 0 is random, 1 is A2C.

    NaN where A2C and the random policy do equally well.
    """
    gap = a2c.mean() - random.mean()
    return float((returns.mean() - random.mean()) / gap) if gap else float("nan")


def normalised_interval(
    returns: np.ndarray, random: np.ndarray, a2c: np.ndarray, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The normalised score with a 95 % bootstrap interval over levels and agent seeds.

    `returns` and `a2c` are `[seeds, levels]`, `random` `[levels]`; a resample draws levels, the same ones for all
    three, and for each of them seeds.
    """
    rng = np.random.default_rng(seed)
    num_seeds, num_levels = returns.shape
    samples = np.empty(resamples)
    for i in range(resamples):
        level = rng.integers(0, num_levels, num_levels)
        rows = rng.integers(0, num_seeds, (num_seeds, num_levels))
        others = rng.integers(0, a2c.shape[0], (a2c.shape[0], num_levels))
        samples[i] = normalised(returns[rows, level], random[level], a2c[others, level])
    low, high = np.nanpercentile(samples, [2.5, 97.5])
    return Interval(normalised(returns, random, a2c), float(low), float(high))


def table(config: StudyConfig, study: Study, theta: Theta, untrained: Theta) -> dict[str, np.ndarray]:
    """Mean returns `[agent seeds, levels]` on the held-out levels of the final table, by who was measured."""
    levels = held_out(config, study, HELD_OUT_TABLE, config.eval.final_levels)
    gauge = Gauge(study, config.levels.lifetime, config.eval.episodes)
    ruled, taught = gauge.returns(study.lifetime), gauge.returns(study.antagonist)
    root = jax.random.key(20_231_003)
    rows: dict[str, list[np.ndarray]] = {"trained rule": [], "untrained rule": [], "A2C": []}
    for seed in range(config.eval.seeds):
        key = jax.random.fold_in(root, seed)
        rows["trained rule"].append(np.asarray(ruled(key, theta, levels)))
        rows["untrained rule"].append(np.asarray(ruled(key, untrained, levels)))
        rows["A2C"].append(np.asarray(taught(key, (), levels)))
    returns = {name: np.stack(values) for name, values in rows.items()}
    returns["random"] = np.asarray(gauge.random(jax.random.fold_in(root, 10_000), levels))[None]
    best = optimal(study, levels)
    if best is not None:
        returns["optimal"] = best[None]
    return returns
