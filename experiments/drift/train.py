"""Meta-training of drifts: the run of `experiments.lpo`."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from experiments.agents.env_setup import EnvSetup, env_setup
from experiments.agents.meta_test import MetaTestResult, draw, meta_tester
from experiments.cli.command_line import check_contract, is_import_path
from experiments.cli.evolution import evolution, persistent_evolution
from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.drift.build import DRIFTS
from experiments.drift.config import DriftStudyConfig
from experiments.drift.report import learning_curves, title, write
from lopt.agents import FinalReturn, LifetimeReturn, MultiEnvLifetime
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.evaluation import drift_plots
from lopt.meta import MetaLearner
from lopt.objectives import LPO, Drift, FrozenProgress, NoTime
from lopt.protocols import Lifetime
from lopt.training import Logger, Outcome, RunFolder, status, untrained
from lopt.types import Key, Level, MetaState, Theta


@dataclass(frozen=True)
class Study:
    """The parts of a run.

    Attributes:
        env_setups: the environments of meta-training.
        drift: the rule that is meta-trained.
        learner: the outer loop.
    """

    env_setups: tuple[EnvSetup, ...]
    drift: Drift
    learner: MetaLearner


def build(config: DriftStudyConfig) -> Study:
    """The study of a configuration.

    Raises:
        ValueError: an unknown environment, several environments of which one has no reference return, or sizes of a
            rollout that do not fit together.
    """
    env_setups = tuple(env_setup(name, config.inner.settings(name)) for name in config.envs)
    unknown = [setup.name for setup in env_setups if setup.scale is None]
    if len(env_setups) > 1 and unknown:
        raise ValueError(
            f"envs: several environments are weighed by reference returns, and none is known for {', '.join(unknown)}; "
            "train on each alone, or on those of envs.references"
        )
    drift = config.drift.drift([setup.settings.num_updates for setup in env_setups])
    lifetimes: list[Lifetime] = []
    for setup in env_setups:
        lifetime = setup.lifetime(drift, config.es.episodes)
        scale = setup.scale if len(env_setups) > 1 and setup.scale is not None else 1.0
        if config.meta.fitness == "lifetime":
            lifetimes.append(LifetimeReturn(lifetime, scale=scale))
        else:
            lifetimes.append(
                FinalReturn(lifetime=lifetime, evaluate=setup.evaluator(lifetime, config.es.episodes), scale=scale)
            )
    combined = MultiEnvLifetime(tuple(lifetimes), config.envs)

    def levels(key: Key) -> Level:
        keys = jax.random.split(key, len(env_setups))
        return combined.level(tuple(setup.levels(k) for setup, k in zip(env_setups, keys, strict=True)))

    meta, persistent = config.meta, config.meta.estimator == "pes"
    rate = optax.cosine_decay_schedule(meta.learning_rate, meta.num_steps, meta.final_rate)
    longest = max(setup.settings.num_updates for setup in env_setups)
    estimator, optimizer = (
        persistent_evolution(config.es, combined, meta.num_updates, rate)
        if persistent
        else evolution(config.es, combined, drift.init, longest, rate)
    )
    learner = MetaLearner(
        estimator=estimator,
        curriculum=DomainRandomisation(levels),
        score=Uniform(),
        optimizer=optimizer,
        num_lifetimes=meta.num_lifetimes,
        stagger=persistent,
        rule=drift,
    )
    if is_import_path(config.drift.name):
        check_contract(config.drift.name, learner.init, learner.step, drift)
    return Study(env_setups, drift, learner)


def main(config: DriftStudyConfig) -> None:
    """Meta-train the drift, then meta-test it beside PPO and DPO."""
    study = build(config)
    test_setups = [env_setup(name, config.inner.settings(name)) for name in config.test_envs]
    run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(meta_train, config, study.learner, partial(Validation, config, study)),
            curves=partial(learning_curves, config),
            report=partial(meta_test, config, study, test_setups),
            export=partial(export, config, study),
        )
    )


def export(config: DriftStudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the drift with its current meta-parameters as a rule file."""
    notes = f"drift of PPO, meta-trained on {', '.join(config.envs)}"
    return export_rule(config, folder, outcome, study.drift, outcome.state.theta, notes)


def meta_test(
    config: DriftStudyConfig, study: Study, test_setups: list[EnvSetup], folder: RunFolder, outcome: Outcome
) -> None:
    """Train agents under the drift and its baselines in all environments, and write the report."""
    theta = jax.device_get(outcome.state.theta)
    drift_plots.draw(study.drift, theta, folder.file("drift.png"))
    env_setups = {setup.name: setup for setup in (*study.env_setups, *test_setups)}
    initial_theta = untrained(config.run, study.learner.init)
    with status("training agents under the drift, PPO and DPO", config.run.progress):
        results = {
            name: compare(config, setup, study.drift, theta, initial_theta) for name, setup in env_setups.items()
        }
        draw(results, {name: setup.steps for name, setup in env_setups.items()}, folder.file("agents.png"))
        for setup in study.env_setups:
            results[setup.name] |= with_frozen_progress(config, setup, study.drift, theta)
    write(config, folder, results, env_setups)


def compare(
    config: DriftStudyConfig, env_setup: EnvSetup, drift: Drift, theta: Theta, initial_theta: Theta
) -> dict[str, MetaTestResult]:
    """Meta-test the drift with `theta` and with `initial_theta`, and the drifts without meta-parameters.

    All agents of a seed have the same key.
    """
    keys = agent_keys(config)
    meta_test = tester(config, env_setup, drift)
    results = {"learned drift": meta_test(keys, theta), "untrained drift": meta_test(keys, initial_theta)}
    for name, baseline in DRIFTS.items():
        results[name.upper()] = tester(config, env_setup, baseline)(keys, ())
    return results


def with_frozen_progress(
    config: DriftStudyConfig, env_setup: EnvSetup, drift: Drift, theta: Theta
) -> dict[str, MetaTestResult]:
    """Meta-test LPO with its time inputs frozen at some n / N (an ablation); empty without time inputs.

    The agents have the keys of `compare`.
    """
    results: dict[str, MetaTestResult] = {}
    if not isinstance(drift, LPO) or isinstance(drift.conditioning, NoTime):
        return results
    for fraction in drift_plots.FRACTIONS:
        frozen = replace(drift, conditioning=FrozenProgress(drift.conditioning, fraction))
        meta_test = tester(config, env_setup, frozen)
        results[f"learned drift, frozen n/N = {fraction:g}"] = meta_test(agent_keys(config), theta)
    return results


def tester(config: DriftStudyConfig, env_setup: EnvSetup, drift: Drift) -> Callable[[Key, Theta], MetaTestResult]:
    """Meta-testing of a drift in an environment, see `meta_tester`."""
    lifetime = env_setup.lifetime(drift, config.eval.episodes)
    evaluate = env_setup.evaluator(lifetime, config.eval.episodes)
    return meta_tester(env_setup.levels, env_setup.settings.num_updates, lifetime, evaluate)


def agent_keys(config: DriftStudyConfig) -> Key:
    """The keys `[seeds]` of the agents of the final table; they do not depend on the seed of the run."""
    return jax.random.split(jax.random.key(20_221_011), config.eval.seeds)


class Validation:
    """Hook that trains agents of at most eight fixed seeds under the current drift."""

    def __init__(self, config: DriftStudyConfig, study: Study):
        self.meta_tests = [tester(config, setup, study.drift) for setup in study.env_setups]
        self.keys = jax.random.split(jax.random.key(1), min(8, config.eval.seeds))
        self.names = [setup.name for setup in study.env_setups]

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean final return in each environment."""
        theta = jax.tree.map(np.asarray, state.theta)
        returns = {
            name: float(meta_test(self.keys, theta).final.mean())
            for name, meta_test in zip(self.names, self.meta_tests, strict=True)
        }
        logger.log(step, {f"validation/{name}": value for name, value in returns.items()})
        logger.message(f"meta-step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in returns.items()))
