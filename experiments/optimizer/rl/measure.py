"""Meta-testing of optimizers of PPO agents: agents trained from scratch by a learned optimizer and tuned baselines."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult, meta_tester
from experiments.optimizer.rl.build import baseline, learned
from experiments.optimizer.rl.config import BASELINES, RLStudyConfig
from lopt.objectives import Clip
from lopt.protocols import LearnedOptimizer, Lifetime
from lopt.types import Key, Theta

CURVE, TUNING, TABLE = (20_240_707 + i for i in range(3))
"""Seeds of the agents of the validation curve, of the tuning, and of the final table."""


@dataclass(frozen=True)
class Tuned:
    """The learning rate that was chosen for a baseline.

    Attributes:
        rate: the learning rate.
        anneal: whether it decays linearly to zero.
        at_edge: whether it is the smallest or the largest of the grid, so that another might be better.
        scores: by "constant" and "annealed", the mean fitness at each rate.
    """

    rate: float
    anneal: bool
    at_edge: bool
    scores: dict[str, list[float]]


def agent_keys(seed: int, number: int) -> Key:
    """The keys of agents `[number]`; they do not depend on the seed of the run."""
    return jax.random.split(jax.random.key(seed), number)


def tester(setup: EnvSetup, lifetime: Lifetime, episodes: int) -> Callable[[Key, Theta], MetaTestResult]:
    """Meta-testing of agents of a lifetime, see `meta_tester`."""
    evaluate = setup.evaluator(setup.lifetime(Clip(), episodes), episodes)
    return meta_tester(setup.levels, setup.settings.num_updates, lifetime, evaluate)


def rates(config: RLStudyConfig) -> np.ndarray:
    """The learning rates `[rates]` over which every baseline is tuned."""
    sizes = config.eval
    return np.geomspace(sizes.smallest_rate, sizes.largest_rate, sizes.rates).astype(np.float32)


def compare(
    config: RLStudyConfig, setup: EnvSetup, rule: LearnedOptimizer, thetas: dict[str, Theta]
) -> tuple[dict[str, MetaTestResult], dict[str, Tuned]]:
    """Meta-test the rule with every member of `thetas`, and every baseline as it was tuned, in one environment.

    All agents of a seed have the same key. Returns the results by optimizer, and the tuning by baseline.
    """
    sizes = config.eval
    keys = agent_keys(TABLE, sizes.seeds)
    by_rule = tester(setup, learned(setup, rule, sizes.episodes), sizes.episodes)
    results, tuned = {label: by_rule(keys, theta) for label, theta in thetas.items()}, {}
    for name in BASELINES:
        testers = {
            anneal: tester(setup, baseline(setup, name, anneal, sizes.episodes), sizes.episodes)
            for anneal in (False, True)
        }
        tuned[name] = tune(config, testers)
        results[name] = testers[tuned[name].anneal](keys, np.float32(tuned[name].rate))
    return results, tuned


def tune(config: RLStudyConfig, testers: dict[bool, Callable[[Key, Theta], MetaTestResult]]) -> Tuned:
    """The learning rate and annealing of a baseline with the largest mean fitness over the seeds TUNING."""
    keys, grid = agent_keys(TUNING, config.eval.tuning_seeds), rates(config)
    scores = {
        anneal: [float(fitness(config, test(keys, rate)).mean()) for rate in grid] for anneal, test in testers.items()
    }
    anneal = max(scores, key=lambda anneal: max(scores[anneal]))
    best = int(np.argmax(scores[anneal]))
    labelled = {"annealed" if anneal else "constant": values for anneal, values in scores.items()}
    return Tuned(float(grid[best]), anneal, best in (0, len(grid) - 1), labelled)


def fitness(config: RLStudyConfig, result: MetaTestResult) -> np.ndarray:
    """What rules are selected and baselines are tuned for, `[seeds]`; a return that is not finite is the worst."""
    values = result.lifetime_return if config.training.fitness == "lifetime" else result.final
    return np.nan_to_num(values, nan=-np.inf)
