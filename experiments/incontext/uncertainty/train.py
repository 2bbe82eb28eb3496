"""Trains Transformers on in-context regression, and compares them with exact references."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.cli.study import StudyRun, export_rule, run_study
from experiments.incontext.uncertainty import measure
from experiments.incontext.uncertainty.build import TRAINING, Study
from experiments.incontext.uncertainty.config import StudyConfig
from experiments.incontext.uncertainty.report import OWN_POOL, RANDOM, TITLE, Results, learning_curves, write
from lopt.evaluation.regression import Sequences
from lopt.incontext import Paired
from lopt.training import Hook, Logger, Outcome, RunFolder, run, status
from lopt.types import Key, Theta


def main(config: StudyConfig) -> Outcome:
    """Train one model per pool size, compare all models with the references, and write the report."""
    study = Study(config)

    def curves(folder: RunFolder) -> str:
        return learning_curves(config, folder, list(study.tasks), next(iter(measure.references(study))))

    def report(folder: RunFolder, outcome: Outcome) -> None:
        with status("evaluating", config.run.progress):
            results = compare(study, _thetas(outcome))
        write(config, folder, results)

    return run_study(
        StudyRun(
            config=config,
            title=TITLE,
            train=partial(train, study),
            curves=curves,
            report=report,
            export=partial(export, study),
        )
    )


def _thetas(outcome: Outcome) -> dict[str, Theta]:
    """The weights by model."""
    return {name: state[0] for name, state in jax.device_get(outcome.state).items()}


def train(study: Study, folder: RunFolder) -> Outcome:
    """Train all models, with a `Validation` every `eval.every` steps."""
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
    """A hook that logs the learning curve: excess losses over the exact reference on fixed sequences."""

    def __init__(self, study: Study):
        self.min_examples = study.config.eval.min_examples
        self.data = Sequences.sample(study.shifts()[TRAINING], measure.CURVE_SEED, measure.BATCH)
        self.predict = measure.model_predictions(study)
        self.exact = next(iter(measure.references(study).values()))(self.data)

    def __call__(self, key: Key, step: int, state: dict, logger: Logger) -> None:
        """Log `{model}/excess_squared_error` and, if models predict sigma_hat, `{model}/excess_loss`.

        Both are means over sequences and over positions with at least `eval.min_examples` earlier examples.
        """
        metrics = {}
        for name, (theta, _) in state.items():
            predictions = self.predict(theta, self.data)
            excess = predictions.squared_error - self.exact.squared_error
            metrics[f"{name}/excess_squared_error"] = float(excess[:, self.min_examples :].mean())
            if np.isfinite(predictions.std).all():
                excess = predictions.loss - self.exact.loss
                metrics[f"{name}/excess_loss"] = float(excess[:, self.min_examples :].mean())
        logger.log(step, metrics)


def export(study: Study, folder: RunFolder, outcome: Outcome) -> Path:
    """Write every model as a rule file, `rule` for a single model, `rule-<name>` for several; returns the last path."""
    model: Any = study.model
    notes = f"in-context linear regression, objective {study.config.task.objective}"
    if isinstance(model, Paired):
        model, notes = model.model, f"{notes}, inputs (x_t, x_(t-1)) of lopt.incontext.Paired"
    thetas = _thetas(outcome)
    for model_name, theta in thetas.items():
        name = "rule" if len(thetas) == 1 else f"rule-{model_name.replace(' ', '-')}"
        path = export_rule(study.config, folder, outcome, model, theta, f"{notes}, {model_name}", name)
    return path


def compare(study: Study, thetas: dict[str, Theta]) -> Results:
    """Predictions of all models, and of the references, on all test distributions.

    The exact reference is evaluated on every distribution, the others on the training distribution only.
    """
    number, methods = study.config.eval.sequences, measure.references(study)
    predict = measure.model_predictions(study)
    data = {name: Sequences.sample(task, measure.REPORT_SEED, number) for name, task in study.shifts().items()}
    data[RANDOM] = data[TRAINING].with_random_labels()
    # in the order of `study.tasks`: JAX sorts the dictionaries of a state
    models = {
        model: {shift: predict(thetas[model], sequences) for shift, sequences in data.items()} for model in study.tasks
    }
    exact = next(iter(methods))
    references = {}
    for shift, sequences in data.items():
        selected = methods if shift == TRAINING else {exact: methods[exact]}
        references[shift] = {name: method(sequences) for name, method in selected.items()}
    pools = {}
    for model, task in study.tasks.items():
        if task.pool is None:
            continue
        posterior, own = measure.pool_posterior(task), Sequences.sample(task, measure.REPORT_SEED, number)
        models[model][OWN_POOL] = predict(thetas[model], own)
        pools[model] = {
            TRAINING: {"pool": posterior(data[TRAINING])},
            OWN_POOL: {"pool": posterior(own), exact: methods[exact](own)},
        }
    return Results(models, references, pools)
