"""Meta-training of drifts: the run of `experiments.lpo`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from experiments.agents.env_setup import EnvSetup, env_setup
from experiments.agents.meta_test import draw
from experiments.agents.tuning import CURVE, agent_keys
from experiments.cli.command_line import check_contract, is_import_path
from experiments.cli.evolution import evolution, persistent_evolution
from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.drift import measure
from experiments.drift.build import DRIFTS
from experiments.drift.config import DriftStudyConfig
from experiments.drift.report import LEARNED, UNTRAINED, learning_curves, title, write
from lopt.agents import FinalReturn, LifetimeReturn, MultiEnvLifetime
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.evaluation import drift_plots
from lopt.meta import MetaLearner
from lopt.objectives import Drift
from lopt.protocols import Lifetime
from lopt.training import Logger, Outcome, RunFolder, status, untrained
from lopt.types import Key, Level, MetaState


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
    rate = optax.cosine_decay_schedule(meta.learning_rate, max(1, meta.num_steps), meta.final_rate)
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


def main(config: DriftStudyConfig) -> Outcome:
    """Meta-train the drift, then meta-test it beside PPO and DPO."""
    study = build(config)
    test_setups = [env_setup(name, config.inner.settings(name)) for name in config.test_envs]
    return run_study(
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
    drifts = {LEARNED: (study.drift, theta), **{name.upper(): (baseline, ()) for name, baseline in DRIFTS.items()}}
    if outcome.step:
        drifts[UNTRAINED] = (study.drift, untrained(config.run, study.learner.init))
    results, tuned = {}, {}
    for name, setup in env_setups.items():
        with status(f"tuning the agents under every drift in {name}", config.run.progress):
            results[name], tuned[name] = measure.compare(config, setup, drifts)
    draw(results, {name: setup.steps for name, setup in env_setups.items()}, folder.file("agents.png"))
    for setup in study.env_setups:
        with status(f"freezing the time inputs in {setup.name}", config.run.progress):
            chosen = tuned[setup.name][LEARNED]
            results[setup.name] |= measure.with_frozen_progress(config, setup, study.drift, theta, chosen)
    write(config, folder, results, tuned, env_setups)


class Validation:
    """Hook that trains agents of at most eight fixed seeds under the current drift."""

    def __init__(self, config: DriftStudyConfig, study: Study):
        self.meta_tests = [measure.tester(config, setup, study.drift) for setup in study.env_setups]
        self.keys = agent_keys(CURVE, min(8, config.eval.seeds))
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
