"""Meta-testing on held-out levels: agents trained from scratch under a rule, A2C, random and optimal policies."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.gridworld import TabularView, optimal_return, random_return
from experiments.grid.build import Study
from experiments.grid.config import StudyConfig
from lopt.agents import MeanReturn, RLLifetime
from lopt.evaluation import (
    Axis,
    Interval,
    MetaTester,
    Sample,
    bootstrap,
    bootstrap_samples,
    mean,
    normalised,
    random_returns,
)
from lopt.training import jit_once, jit_repeated
from lopt.types import Key, Level, Rates, Theta

HELD_OUT_CURVE, HELD_OUT_TABLE = 1, 3
"""Seeds of the held-out levels of the validation curve and of the final table. Meta-training uses neither."""

SMALLEST_RANGE = 0.1
"""Difference between the optimal and the random policy's return below which a level has no score of its own."""

TRAINED, FROZEN, UNTRAINED = "trained rule", "trained rule, prediction frozen", "untrained rule"
RAW_A2C = "A2C, raw advantages"
"""Names of methods in the final table."""


def held_out(config: StudyConfig, study: Study, which: int, number: int) -> Level:
    """`number` levels `[L]` of the seed `which`; they depend on the level distribution, not on the seed of the run."""
    key = jax.random.fold_in(jax.random.key(20_231_002), which)
    return jit_once(jax.vmap(study.distribution))(jax.random.split(key, number))


def meta_tester(study: Study, lifetime: RLLifetime, num_updates: int, episodes: int) -> MetaTester:
    """Trains agents for at most `num_updates` updates, and measures their mean return over `episodes` episodes."""
    evaluate = MeanReturn(env=lifetime.env, policy=lifetime.agent.act, num_episodes=episodes, max_steps=study.max_steps)
    return MetaTester(lifetime=lifetime, num_updates=num_updates, measure=evaluate, batch_size=32)


def returns(tester: MetaTester, key: Key, theta: Theta, levels: Level) -> np.ndarray:
    """Mean returns `[L]` of agents trained from scratch on the levels `[L]`."""
    return np.asarray(tester(jax.random.split(key, levels.num_updates.shape[0]), theta, levels).final)


def with_prediction_rate(levels: Level, factor: float) -> Level:
    """The levels with a factor on the learning rate of the agents' prediction; at 0 it keeps its initial value."""
    ones = jnp.ones(levels.num_updates.shape)
    return levels.replace(rates=Rates(policy=ones, prediction=factor * ones))


def random(study: Study, key: Key, levels: Level, episodes: int) -> np.ndarray:
    """Mean returns `[L]` of the uniformly random policy.

    They are exact on tabular levels, and estimated from 16 x `episodes` episodes on others.
    """
    env: Any = study.lifetime.env
    if isinstance(env.view, TabularView):
        return np.asarray(jit_repeated(partial(jax.lax.map, partial(random_return, env)))(levels.params))
    return random_returns(key, env, levels, 16 * episodes, study.max_steps)


def optimal(study: Study, levels: Level) -> np.ndarray | None:
    """Exact optimal returns `[L]`; None where the levels are not tabular."""
    env: Any = study.lifetime.env
    if not isinstance(env.view, TabularView):
        return None
    return np.asarray(jit_repeated(partial(jax.lax.map, partial(optimal_return, env)))(levels.params))


def per_level_interval(returns: np.ndarray, random: np.ndarray, optimal: np.ndarray) -> Interval:
    """Mean over levels of (return - random) / (optimal - random), with a 95 % interval over levels and agent seeds.

    Every level counts alike, where `normalised_interval` gives weight to levels with large returns. Levels on which the
    optimum is less than `SMALLEST_RANGE` above the random policy are left out: their ratios are mostly noise.

    Args:
        returns: `[seeds, levels]` of the method, or `[1, levels]`.
        random: `[levels]` of the random policy.
        optimal: `[levels]` of the optimal policy.
    """
    range_ = optimal - random
    kept = range_ >= SMALLEST_RANGE
    scores = (returns[:, kept] - random[kept]) / range_[kept]
    return bootstrap(scores, mean, axes=(Axis.NESTED, Axis.CROSSED))


def difference(first: np.ndarray, second: np.ndarray, random: np.ndarray, a2c: np.ndarray) -> Interval:
    """The difference of two A2C-normalised scores, paired by agent seed and level, with a 95 % interval over both.

    Args:
        first: `[seeds, levels]` returns of one method.
        second: `[seeds, levels]` of the other.
        random: `[levels]` of the random policy.
        a2c: `[seeds, levels]` of A2C.
    """
    axes = (Axis.NESTED, Axis.CROSSED)
    return bootstrap_samples(
        lambda x, y, r, a: normalised(x, r, a) - normalised(y, r, a),
        Sample(first, axes),
        Sample(second, axes),
        Sample(np.broadcast_to(random, first.shape), axes),
        Sample(a2c, axes),
        paired=True,
    )


def normalised_interval(returns: np.ndarray, random: np.ndarray, a2c: np.ndarray) -> Interval:
    """The A2C-normalised score (`lopt.evaluation.normalised`) with a 95 % interval over levels and agent seeds.

    Args:
        returns: `[seeds, levels]` of the method.
        random: `[levels]` of the random policy.
        a2c: `[seeds, levels]` of A2C.
    """
    axes = (Axis.NESTED, Axis.CROSSED)
    samples = (Sample(returns, axes), Sample(random, axes[1:]), Sample(a2c, axes))
    return bootstrap_samples(normalised, *samples)


def table(config: StudyConfig, study: Study, theta: Theta, untrained: Theta) -> dict[str, np.ndarray]:
    """Mean returns `[agent seeds, levels]` by method on the held-out levels of the final table.

    The methods are the rule with `theta`, the same with agents whose prediction keeps its initial value, the rule with
    `untrained`, A2C, A2C whose critic keeps its initial value, A2C with raw advantages, the random policy (one row),
    and where levels are tabular the optimal policy (one row).
    """
    levels = held_out(config, study, HELD_OUT_TABLE, config.eval.final_levels)
    live, frozen = with_prediction_rate(levels, 1.0), with_prediction_rate(levels, 0.0)
    rule, a2c, raw_a2c = (
        meta_tester(study, lifetime, config.levels.num_updates, config.eval.episodes)
        for lifetime in (study.lifetime, study.antagonist, study.raw_a2c)
    )
    methods: dict[str, tuple[MetaTester, Theta, Level]] = {
        TRAINED: (rule, theta, live),
        FROZEN: (rule, theta, frozen),
        UNTRAINED: (rule, untrained, live),
        "A2C": (a2c, (), live),
        "A2C, critic frozen": (a2c, (), frozen),
        RAW_A2C: (raw_a2c, (), live),
    }
    if not study.rule.prediction_size:
        del methods[FROZEN]
    if unchanged := jax.tree.all(jax.tree.map(np.array_equal, theta, untrained)):
        del methods[UNTRAINED]
    root = jax.random.key(20_231_003)
    keys = [jax.random.fold_in(root, seed) for seed in range(config.eval.seeds)]

    def measured(name: str) -> np.ndarray:
        tester, parameters, levels = methods[name]
        return np.stack([returns(tester, key, parameters, levels) for key in keys])

    # threads overlap the compilation and the run of several methods
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        table = dict(zip(methods, pool.map(measured, methods), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)
    if unchanged:
        table[UNTRAINED] = table[TRAINED]
    table["random"] = random(study, jax.random.fold_in(root, 10_000), levels, config.eval.episodes)[None]
    best = optimal(study, levels)
    if best is not None:
        table["optimal"] = best[None]
    return table
