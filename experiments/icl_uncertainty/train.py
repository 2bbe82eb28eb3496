"""Training Transformers on sequences of regressions, and measuring them beside exact references."""

from functools import partial

import jax
import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger
from experiments.common.loop import Hook, Outcome, run
from experiments.common.progress import status
from experiments.common.unfinished import join_notes, leave
from experiments.icl_uncertainty import measure
from experiments.icl_uncertainty.build import TRAINING, Study
from experiments.icl_uncertainty.config import StudyConfig
from experiments.icl_uncertainty.report import OWN, RANDOM, TITLE, Found, learning, write
from lopt.export import Card, save_rule
from lopt.incontext import Paired
from lopt.types import Key, Theta


def main(config: StudyConfig) -> None:
    """Train a model for every pool, then compare all with the references."""
    study = Study(config)
    folder = open_folder(config, command_line())
    outcome = train(study, folder)
    thetas = {name: state[0] for name, state in jax.device_get(outcome.state).items()}
    keep = partial(export, study, folder, thetas, outcome.step)
    if outcome.stopped:
        names, exact = list(study.tasks), next(iter(measure.references(study)))
        leave(config, folder, outcome, TITLE, partial(learning, config, folder, names, exact), keep)
        return
    keep()
    with status("measuring", config.run.progress):
        found = compare(study, thetas)
    write(config, folder, found)
    print(f"report: {folder.path / 'report.md'}")


def train(study: Study, folder: RunFolder) -> Outcome:
    """The run itself."""
    config = study.config
    losses = tuple(f"{name}/loss" for name in study.tasks)
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.step,
        num_steps=config.training.num_steps,
        chunk=config.training.steps_per_chunk,
        hooks=[Hook(config.eval.every, Validation(study), at_start=True)],
        headline=losses[:3],
        finite=losses,
    )


class Validation:
    """The learning curve: the distance to the reference on new functions, always the same ones."""

    def __init__(self, study: Study):
        self.study, self.late = study, study.config.eval.late
        self.given = measure.sequences(study.shifts()[TRAINING], measure.CURVE, measure.BATCH)
        self.predict = measure.trained(study)
        self.exact = next(iter(measure.references(study).values()))(self.given)

    def __call__(self, key: Key, step: int, state: dict, logger: Logger) -> None:
        """Log the mean excess of the squared error and, where there is one, of the Gaussian loss at late positions."""
        numbers = {}
        for name, (theta, _) in state.items():
            found = self.predict(theta, self.given)
            excess = found.squared_error - self.exact.squared_error
            numbers[f"{name}/excess_squared_error"] = float(excess[:, self.late :].mean())
            if np.isfinite(found.std).all():
                numbers[f"{name}/excess_loss"] = float((found.loss - self.exact.loss)[:, self.late :].mean())
        logger.log(step, numbers)


def export(study: Study, folder: RunFolder, thetas: dict[str, Theta], steps: int, note: str | None = None) -> None:
    """Write every model as a rule file, `rule.npz` for one and `rule-<pool>.npz` for several; `note` is where a stopped
    run stands."""
    model, notes = study.model, f"linear regression in context, objective {study.config.task.objective}"
    if isinstance(model, Paired):
        model, notes = model.model, f"{notes}, inputs (x_t, x_(t-1)) of lopt.incontext.Paired"
    for name, theta in thetas.items():
        card = Card(
            kind="lopt.incontext.Transformer",
            config={field: getattr(model, field) for field in type(model).__dataclass_fields__},
            command=folder.command,
            seed=study.config.run.seed,
            meta_steps=steps,
            notes=join_notes(f"{notes}, {name}", note),
        )
        save_rule(folder.file("rule" if len(thetas) == 1 else f"rule-{name.replace(' ', '-')}"), theta, card)


def compare(study: Study, thetas: dict[str, Theta]) -> Found:
    """Every model and every reference on every distribution."""
    number, rules, predict = study.config.eval.sequences, measure.references(study), measure.trained(study)
    given = {name: measure.sequences(task, measure.TABLE, number) for name, task in study.shifts().items()}
    given[RANDOM] = measure.random_labels(given[TRAINING])
    # in the order of the pools: JAX sorts the dictionaries of a state
    models = {who: {name: predict(thetas[who], some) for name, some in given.items()} for who in study.tasks}
    first = next(iter(rules))
    exact = {}
    for name, some in given.items():
        wanted = rules if name == TRAINING else {first: rules[first]}
        exact[name] = {rule: method(some) for rule, method in wanted.items()}
    pools = {}
    for who, task in study.tasks.items():
        if task.pool is None:
            continue
        posterior, own = measure.pool_posterior(task), measure.sequences(task, measure.TABLE, number)
        models[who][OWN] = predict(thetas[who], own)
        pools[who] = {
            TRAINING: {"pool": posterior(given[TRAINING])},
            OWN: {"pool": posterior(own), first: rules[first](own)},
        }
    return Found(models, exact, pools)
