"""Meta-training on grid worlds: the run that `experiments.groove` and `experiments.lpg` share."""

from functools import partial
from pathlib import Path

import jax
import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger
from experiments.common.loop import Hook, Outcome, run, untrained
from experiments.common.progress import status
from experiments.common.unfinished import join_notes, leave
from experiments.gridworld import measure, pictures, response
from experiments.gridworld.build import Study, build
from experiments.gridworld.config import StudyConfig
from experiments.gridworld.report import learning, lifetimes, title, write
from lopt.curriculum import Buffer
from lopt.export import card_of, save_rule
from lopt.types import Key, MetaState, Theta


def main(config: StudyConfig) -> None:
    """Meta-train, then measure the rule on levels it has not seen."""
    study = build(config)
    folder = open_folder(config, command_line())
    outcome = train(config, study, folder)
    theta = jax.device_get(outcome.state.theta)
    keep = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        leave(config, folder, outcome, title(config), partial(learning, config, folder), keep)
        return
    keep()
    with status("measuring the rule on held-out levels", config.run.progress):
        returns = measure.table(config, study, theta, untrained(config.run, study.init))
    response.draw(study.rule, theta, config.levels.lifetime, folder.file("response.png"))
    write(config, study, folder, returns)
    print(f"report: {folder.path / 'report.md'}")


def train(config: StudyConfig, study: Study, folder: RunFolder) -> Outcome:
    """The meta-training run itself."""
    hooks = [Hook(config.eval.every, Validation(config, study), at_start=True)]
    if config.score != "uniform":
        hooks.append(Hook(config.eval.every, partial(keep_extremes, folder)))
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=hooks,
        headline=("meta_loss",) if config.meta.estimator == "es" else ("reward", "policy_entropy"),
        finite=("meta_loss",),
        unit="meta-step",
    )


class Validation:
    """The learning curve: newborn agents live under the rule on held-out levels, always the same ones."""

    def __init__(self, config: StudyConfig, study: Study):
        self.config, self.study = config, study
        self.reference: tuple[np.ndarray, np.ndarray] | None = None
        self.compared: dict[str, float] = {}

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean return, the score on the scale random = 0, A2C = 1, and the returns that it is compared with."""
        theta, root = state.theta, jax.random.key(0)
        if self.reference is None:
            self._prepare(root)
        returns = np.asarray(self.ruled(root, theta, self.levels))
        score = measure.normalised(returns, *self.reference)
        found = {"held_out/return": float(returns.mean()), "held_out/a2c_normalised": score}
        logger.log(step, found | self.compared)
        logger.message(f"meta-step {step}: held-out return {returns.mean():.3f}, A2C-normalised {score:.2f}")

    def _prepare(self, root: Key) -> None:
        """Measure what the rule is compared with, once."""
        config, study = self.config, self.study
        self.levels = measure.held_out(config, study, measure.HELD_OUT_CURVE, config.eval.levels)
        gauge = measure.Gauge(study, config.levels.lifetime, config.eval.episodes)
        self.ruled = gauge.returns(study.lifetime)
        a2c = np.asarray(gauge.returns(study.antagonist)(root, (), self.levels))
        random = np.asarray(gauge.random(root, self.levels))
        self.reference = random, a2c
        self.compared = {"held_out/random_return": float(random.mean()), "held_out/a2c_return": float(a2c.mean())}
        best = measure.optimal(study, self.levels)
        if best is not None:
            self.compared["held_out/optimal_return"] = float(best.mean())


def keep_extremes(folder: RunFolder, key: Key, step: int, state: MetaState, logger: Logger) -> None:
    """Save the levels that the curriculum prefers and shuns now, for the report."""
    if isinstance(state.curriculum, Buffer):
        pictures.save_extremes(folder.file(f"levels/{step:07d}.npz"), state.curriculum)


def export(
    config: StudyConfig, study: Study, folder: RunFolder, theta: Theta, steps: int, note: str | None = None
) -> Path:
    """Write `rule.npz` and `rule.json`; `note` is where a stopped run stands."""
    about = f"grid worlds '{config.levels.distribution}', lifetimes of {lifetimes(config)} updates"
    card = card_of(
        study.rule,
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        notes=join_notes(about, note),
    )
    return save_rule(folder.file("rule"), theta, card)
