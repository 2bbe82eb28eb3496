"""Meta-training on grid worlds: the run of `experiments.groove` and `experiments.lpg`."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.cli.study import StudyRun, export_rule, run_study
from experiments.grid import measure, pictures
from experiments.grid.build import Study, build, with_start
from experiments.grid.config import StudyConfig
from experiments.grid.report import learning_curves, lifetimes, title, write
from lopt.curriculum import Buffer
from lopt.evaluation import lpg_response, normalised
from lopt.objectives import LPG
from lopt.training import Hook, Logger, Outcome, RunFolder, run, status, untrained
from lopt.types import Key, MetaState


def main(config: StudyConfig) -> Outcome:
    """Meta-train the rule, then meta-test it on held-out levels."""
    study = with_start(config, build(config))
    return run_study(
        StudyRun(
            config=config,
            title=title(config),
            train=partial(train, config, study),
            curves=partial(learning_curves, config),
            report=partial(meta_test, config, study),
            export=partial(export, config, study),
        )
    )


def train(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    """Run the outer loop, with validation and saved levels as hooks."""
    hooks = [Hook(config.eval.every, Validation(config, study), at_start=True)]
    if config.score != "uniform":
        hooks.append(Hook(config.eval.every, partial(save_extremes, folder)))
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=hooks,
        headline=("meta_loss",) if config.meta.estimator != "meta_gradient" else ("reward", "policy_entropy"),
        finite=("meta_loss",),
        unit="meta-step",
    )


class Validation:
    """Hook that meta-tests the current rule on a fixed set of held-out levels, with the same agent seeds every time."""

    def __init__(self, config: StudyConfig, study: Study):
        self.config, self.study = config, study
        self.reference: tuple[np.ndarray, np.ndarray] | None = None
        self.baselines: dict[str, float] = {}

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the rule's return and A2C-normalised score, live and with its prediction frozen, and the baselines'."""
        theta, root = state.theta, jax.random.key(0)
        if self.reference is None:
            self.reference = self._prepare(root)
        returns = measure.returns(self.tester, root, theta, self.levels)
        score = normalised(returns, *self.reference)
        metrics = {"held_out/return": float(returns.mean()), "held_out/a2c_normalised": score}
        text = f"meta-step {step}: held-out return {returns.mean():.3f}, A2C-normalised {score:.3f}"
        if self.study.rule.prediction_size:
            frozen = measure.returns(self.tester, root, theta, measure.with_prediction_rate(self.levels, 0.0))
            metrics["held_out/frozen_difference"] = normalised(frozen, *self.reference) - score
            text += f", with the prediction frozen {metrics['held_out/frozen_difference']:+.3f}"
        logger.log(step, metrics | self.baselines)
        logger.message(text)

    def _prepare(self, root: Key) -> tuple[np.ndarray, np.ndarray]:
        """Draw the levels and evaluate the baselines, once; returns the returns of the random policy and of A2C."""
        config, study = self.config, self.study
        levels = measure.held_out(config, study, measure.HELD_OUT_CURVE, config.eval.levels)
        self.levels = measure.with_prediction_rate(levels, 1.0)
        sizes = config.levels.num_updates, config.eval.episodes
        self.tester = measure.meta_tester(study, study.lifetime, *sizes)
        a2c = measure.returns(measure.meta_tester(study, study.antagonist, *sizes), root, (), self.levels)
        random = measure.random(study, root, self.levels, config.eval.episodes)
        self.baselines = {"held_out/random_return": float(random.mean()), "held_out/a2c_return": float(a2c.mean())}
        best = measure.optimal(study, self.levels)
        if best is not None:
            self.baselines["held_out/optimal_return"] = float(best.mean())
        return random, a2c


def save_extremes(folder: RunFolder, key: Key, step: int, state: MetaState, logger: Logger) -> None:
    """Hook that saves the levels with the highest and the lowest scores for the report."""
    if isinstance(state.curriculum, Buffer):
        pictures.save_extremes(folder.file(f"levels/{step:07d}.npz"), state.curriculum)


def export(config: StudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write the rule with its current meta-parameters as a rule file."""
    notes = f"grid worlds '{config.levels.distribution}', lifetimes of {lifetimes(config)} updates"
    return export_rule(config, folder, outcome, study.rule, outcome.state.theta, notes)


def meta_test(config: StudyConfig, study: Study, folder: RunFolder, outcome: Outcome) -> None:
    """Train agents from scratch under the rule and its baselines on held-out levels, and write the report."""
    theta = jax.device_get(outcome.state.theta)
    with status("meta-testing on held-out levels", config.run.progress):
        returns = measure.table(config, study, theta, untrained(config.run, study.init))
    if isinstance(study.rule, LPG):
        lpg_response.draw(study.rule, theta, config.levels.num_updates, folder.file("response.png"))
    write(config, study, folder, returns)
