"""Meta-testing of drifts: agents trained from scratch under each of them, with settings tuned for each alike."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from experiments.agents.env_setup import EnvSetup
from experiments.agents.meta_test import MetaTestResult, meta_tester
from experiments.agents.tuning import ANNEALING, TABLE, Tester, Tuned, agent_keys, tune
from experiments.drift.config import DriftStudyConfig
from lopt.agents import LearnedOptimizerLifetime
from lopt.evaluation import drift_plots
from lopt.objectives import LPO, Clip, Drift, FrozenProgress, NoTime
from lopt.optimizers import FromOptax
from lopt.types import Key, Theta


def compare(
    config: DriftStudyConfig, setup: EnvSetup, drifts: Mapping[str, tuple[Drift, Theta]]
) -> tuple[dict[str, MetaTestResult], dict[str, Tuned]]:
    """Tune the agents under each drift in one environment, and meta-test it with the settings that were chosen.

    All agents of a seed have the same key. Returns the results and the settings, by drift.
    """
    keys = agent_keys(TABLE, config.eval.seeds)
    results, tuned = {}, {}
    for name, (drift, theta) in drifts.items():
        testers = variants(config, setup, drift, theta)
        tuned[name] = tune(config.eval, config.meta.fitness, testers)
        results[name] = testers[tuned[name].variant](keys, np.float32(tuned[name].rate))
    return results, tuned


def variants(config: DriftStudyConfig, setup: EnvSetup, drift: Drift, theta: Theta) -> dict[str, Tester]:
    """Meta-testing of a drift as a function of keys and the learning rate, by the other settings that are tuned.

    These are annealing and the number of epochs, and for PPO's drift the clipping range.
    """
    drifts = {"": drift}
    if isinstance(drift, Clip):
        drifts |= {f", clip {epsilon:g}": Clip(epsilon) for epsilon in config.eval.clips}
    found: dict[str, Tester] = {}
    for epochs in dict.fromkeys((setup.settings.epochs, *config.eval.epochs)):
        changed = replace(setup, settings=replace(setup.settings, epochs=epochs))
        name = f", {epochs} epochs" if config.eval.epochs else ""
        for annealing, anneal in ANNEALING.items():
            for clip, one in drifts.items():
                found[annealing + name + clip] = _by_rate(config, changed, one, theta, anneal)
    return found


def with_frozen_progress(
    config: DriftStudyConfig, setup: EnvSetup, drift: Drift, theta: Theta, tuned: Tuned
) -> dict[str, MetaTestResult]:
    """Meta-test LPO with its time inputs frozen at some n / N (an ablation); empty without time inputs.

    The agents have the keys of `compare`, and the settings that were chosen for the drift as it is.
    """
    results: dict[str, MetaTestResult] = {}
    if not isinstance(drift, LPO) or isinstance(drift.conditioning, NoTime):
        return results
    keys = agent_keys(TABLE, config.eval.seeds)
    for fraction in drift_plots.FRACTIONS:
        frozen = replace(drift, conditioning=FrozenProgress(drift.conditioning, fraction))
        test = variants(config, setup, frozen, theta)[tuned.variant]
        results[f"learned drift, frozen n/N = {fraction:g}"] = test(keys, np.float32(tuned.rate))
    return results


def tester(config: DriftStudyConfig, setup: EnvSetup, drift: Drift) -> Callable[[Key, Theta], MetaTestResult]:
    """Meta-testing of a drift as a function of keys and theta, with the settings of meta-training."""
    lifetime = setup.lifetime(drift, config.eval.episodes)
    evaluate = setup.evaluator(lifetime, config.eval.episodes)
    return meta_tester(setup.levels, setup.settings.num_updates, lifetime, evaluate)


def _by_rate(config: DriftStudyConfig, setup: EnvSetup, drift: Drift, theta: Theta, anneal: bool) -> Tester:
    episodes = config.eval.episodes
    lifetime = LearnedOptimizerLifetime(
        rule=FromOptax(setup.adam),
        make=partial(setup.lifetime, drift, episodes, anneal=anneal),
        objective_theta=theta,
    )
    evaluate = setup.evaluator(setup.lifetime(drift, episodes), episodes)
    return meta_tester(setup.levels, setup.settings.num_updates, lifetime, evaluate)
