"""Meta-training and meta-testing of the optimizer of PPO agents."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.agents.tuning import CURVE, agent_keys
from experiments.cli.study import StudyRun, export_rule, meta_train, run_study
from experiments.optimizer.rl import measure
from experiments.optimizer.rl.build import Study, build, learned
from experiments.optimizer.rl.config import RLStudyConfig
from experiments.optimizer.rl.report import LEARNED, UNTRAINED, learning_curves, title, write
from lopt.training import Logger, Outcome, RunFolder, status, untrained
from lopt.types import Key, MetaState


def main(config: RLStudyConfig) -> Outcome:
    """Meta-train the optimizer, then compare it with tuned Adam and Lion."""
    study = build(config)
    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(meta_train, config, study.learner, partial(Validation, config, study)),
            curves=learning_curves,
            report=partial(meta_test, config, study),
            export=partial(export, config, study),
        )
    )


def export(config: RLStudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the optimizer with its current meta-parameters as a rule file."""
    name = config.envs[0]
    settings = study.env_setups[name].settings
    notes = (
        f"trained on PPO agents in {name}, lifetimes of {settings.num_updates} updates, behind gradient clipping to "
        f"the norm {settings.max_norm:g}"
    )
    return export_rule(config, folder, outcome, study.rule, outcome.state.theta, notes)


def meta_test(config: RLStudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> None:
    """Compare the optimizer with its untrained self and tuned baselines in every environment; write the report."""
    thetas = {LEARNED: jax.device_get(outcome.state.theta), UNTRAINED: untrained(config.run, study.learner.init)}
    results, tuned = {}, {}
    for name, setup in study.env_setups.items():
        with status(f"meta-testing in {name}, and tuning the baselines", config.run.progress):
            results[name], tuned[name] = measure.compare(config, setup, study.rule, thetas)
    write(config, folder, study.env_setups, results, tuned)


class Validation:
    """Hook that trains agents of at most eight fixed seeds with the current rule."""

    def __init__(self, config: RLStudyConfig, study: Study):
        setup, episodes = study.env_setups[config.envs[0]], config.eval.episodes
        self.test = measure.tester(setup, learned(setup, study.rule, episodes), episodes)
        self.keys = agent_keys(CURVE, min(8, config.eval.seeds))

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean return after the last update, and that over the lifetime."""
        result = self.test(self.keys, jax.tree.map(np.asarray, state.theta))
        final, lifetime = float(result.final.mean()), float(result.lifetime_return.mean())
        logger.log(step, {"validation/final": final, "validation/lifetime": lifetime})
        logger.message(f"meta-step {step}: return {final:.4g} after the last update, {lifetime:.4g} over the lifetime")
