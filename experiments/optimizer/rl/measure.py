"""Meta-testing of optimizers of PPO agents: agents trained from scratch by a learned optimizer and tuned baselines."""

from collections.abc import Callable

import numpy as np

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult, meta_tester
from experiments.agents.tuning import ANNEALING, TABLE, Tuned, agent_keys, tune
from experiments.optimizer.rl.build import baseline, learned
from experiments.optimizer.rl.config import BASELINES, RLStudyConfig
from lopt.objectives import Clip
from lopt.protocols import LearnedOptimizer, Lifetime
from lopt.types import Key, Theta


def tester(setup: EnvSetup, lifetime: Lifetime, episodes: int) -> Callable[[Key, Theta], MetaTestResult]:
    """Meta-testing of agents of a lifetime, see `meta_tester`."""
    evaluate = setup.evaluator(setup.lifetime(Clip(), episodes), episodes)
    return meta_tester(setup.levels, setup.settings.num_updates, lifetime, evaluate)


def compare(
    config: RLStudyConfig, setup: EnvSetup, rule: LearnedOptimizer, thetas: dict[str, Theta]
) -> tuple[dict[str, MetaTestResult], dict[str, Tuned]]:
    """Meta-test the rule with every member of `thetas`, and every baseline as it was tuned, in one environment.

    All agents of a seed have the same key. Returns the results by optimizer, and the tuning by baseline.
    """
    sizes = config.eval
    fitness, keys = config.training.fitness, agent_keys(TABLE, sizes.seeds)
    by_rule = tester(setup, learned(setup, rule, sizes.episodes), sizes.episodes)
    results, tuned = {label: by_rule(keys, theta) for label, theta in thetas.items()}, {}
    for name in BASELINES:
        testers = {
            variant: tester(setup, baseline(setup, name, anneal, sizes.episodes), sizes.episodes)
            for variant, anneal in ANNEALING.items()
        }
        tuned[name] = tune(sizes, fitness, testers)
        results[name] = testers[tuned[name].variant](keys, np.float32(tuned[name].rate))
    return results, tuned
