"""The in-context regression study: invalid options, evaluation, and small complete runs that are resumed."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.incontext.uncertainty import measure
from experiments.incontext.uncertainty.build import LONGER, TRAINING, Study
from experiments.incontext.uncertainty.config import (
    PRESETS,
    EvalConfig,
    ModelConfig,
    StudyConfig,
    TaskConfig,
    TrainingConfig,
)
from experiments.incontext.uncertainty.report import OWN_POOL, RANDOM, Results, tail_mean
from experiments.incontext.uncertainty.train import compare, main, train
from lopt.evaluation.regression import Predictions, Sequences
from lopt.incontext import Transformer
from lopt.rules import load_rule
from lopt.training import RunConfig, open_folder

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    task=TaskConfig(dimensions=2, length=4, pools=(0,)),
    model=ModelConfig(width=4, layers=1, heads=1),
    training=TrainingConfig(num_steps=4, batch=2, warmup=1, steps_per_chunk=2),
    eval=EvalConfig(every=2, sequences=8, min_examples=1),
)
POOLED = dataclasses.replace(TINY, task=dataclasses.replace(TINY.task, objective="mean", noises=(0.25,), pools=(2, 0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": TaskConfig(objective="mean_std")}, "did you mean mean_and_std"),
        ({"task": TaskConfig(noises=(0.0,))}, "task.noises must be positive"),
        ({"task": TaskConfig(pools=(4, 4))}, "task.pools must be distinct sizes"),
        ({"task": TaskConfig(pools=())}, "task.pools must be distinct sizes"),
        ({"training": TrainingConfig(num_steps=8001)}, "must be a multiple of the chunk"),
        ({"training": TrainingConfig(warmup=0)}, "training.warmup"),
        ({"training": TrainingConfig(batch=0)}, "training.batch must be at least 1"),
        ({"eval": EvalConfig(every=7)}, "eval.every"),
        ({"eval": EvalConfig(min_examples=20)}, "eval.min-examples must be less"),
    ],
)
def test_invalid_options_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_presets_build():
    for preset in PRESETS.values():
        study = Study(preset)
        assert study.model.model.positions == 2 * preset.task.length
        unpaired = Study(dataclasses.replace(preset, model=ModelConfig(paired=False))).model
        assert isinstance(unpaired, Transformer) and unpaired.inputs == preset.task.dimensions
        assert study.shifts()[TRAINING].pool is None and len(study.shifts()) >= 8
        assert study.shifts()[LONGER].length == 2 * preset.task.length
        scales = study.shifts()["inputs with a skewed covariance"].inputs.scales
        assert np.square(scales).sum() == pytest.approx(preset.task.dimensions)


def test_exact_reference_is_calibrated():
    """Its coverage is nominal, and its loss is below that of a rule that ignores the inputs."""
    study = Study(TINY)
    exact = measure.references(study)["Bayes"](Sequences.sample(study.shifts()[TRAINING], measure.REPORT_SEED, 2000))
    standard = np.square((exact.ys - exact.mean) / exact.std)
    assert (np.abs(standard.mean(0) - 1) < 4 * standard.std(0) / 2000**0.5).all()
    assert (np.abs(exact.coverage.mean(0) - 0.9) < 0.03).all()
    constant = Predictions(exact.ys, np.zeros_like(exact.ys), np.full_like(exact.ys, exact.ys.std()))
    assert tail_mean(exact.loss, 1).mean() < tail_mean(constant.loss, 1).mean()


def test_models_and_references_get_the_same_sequences():
    """Sequences are determined by their arguments; random labels are the labels of other sequences."""
    study = Study(TINY)
    one, other = (Sequences.sample(study.shifts()[TRAINING], measure.REPORT_SEED, 8) for _ in range(2))
    np.testing.assert_array_equal(one.ys, other.ys)
    mixed = one.with_random_labels()
    np.testing.assert_array_equal(mixed.ys[1:], one.ys[:-1])
    theta = jax.jit(study.model.init)(jax.random.key(0))
    predictions = measure.model_predictions(study)(theta, one)
    np.testing.assert_array_equal(predictions.ys, one.ys)
    ys_prev = jnp.concatenate([jnp.zeros((1, 1)), one.ys[3, :-1, None]])
    outputs = jax.jit(study.model.apply)(theta, one.xs[3], ys_prev)
    np.testing.assert_allclose(predictions.mean[3], outputs[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predictions.std[3], np.exp(outputs[:, 1]), rtol=1e-4)


def test_distance_to_the_same_predictions_is_zero():
    rng = np.random.default_rng(0)
    ys, mean = rng.normal(size=(2, 50, 4))
    exact, pool = (Predictions(ys, m, np.full_like(ys, np.nan)) for m in (mean, mean + 1))
    results = Results(
        {"pool of 2": {TRAINING: pool, OWN_POOL: exact}},
        {TRAINING: {"Bayes": exact}},
        {"pool of 2": {TRAINING: {"pool": pool}, OWN_POOL: {"pool": pool, "Bayes": exact}}},
    )
    rows = results.distances(1)
    unit = np.square(ys).mean()
    values = [(model, on, round(a.value * unit, 6), round(b.value * unit, 6)) for model, on, a, b in rows]
    assert values == [("pool of 2", "new functions", 0, 1), ("pool of 2", OWN_POOL, 1, 0)]


@pytest.mark.slow  # compiles many programs
@pytest.mark.parametrize("config", [TINY, POOLED], ids=["uncertainty", "pools"])
def test_complete_and_resumed_run(config, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    whole, parts = ({"out": str(tmp_path / name)} for name in ("whole", "parts"))
    main(dataclasses.replace(config, run=dataclasses.replace(TINY.run, **whole)))
    main(dataclasses.replace(config, run=dataclasses.replace(TINY.run, **parts, max_minutes=1e-6)))
    assert "The run is not finished" in (tmp_path / "parts" / "report.md").read_text()
    main(dataclasses.replace(config, run=dataclasses.replace(TINY.run, **parts, resume=True)))
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("whole", "parts")]
    assert results[0] == results[1]
    assert RANDOM in results[0]["references"]
    assert list(results[0]["models"]) == list(Study(config).tasks)  # in the order of the pools, not of the alphabet
    pictures = ["calibration.png"] if config is TINY else ["diversity.png"]
    for name in ("report.md", "positions.png", "shifts.png", "curves.png", *pictures):
        assert (tmp_path / "whole" / name).stat().st_size > 0
    rule = load_rule(tmp_path / "whole" / ("rule" if config is TINY else "rule-pool-of-2"))
    assert Transformer(**rule.card.config) == Study(config).model.model


def train_and_compare(config, tmp_path):
    """The predictions of trained models and references."""
    study = Study(dataclasses.replace(config, run=dataclasses.replace(TINY.run, out=str(tmp_path))))
    outcome = train(study, open_folder(study.config, "test"))
    return compare(study, {name: state[0] for name, state in outcome.state.items()})


@pytest.mark.slow
def test_transformer_predicts_calibrated_uncertainty(tmp_path):
    """In two dimensions its loss is close to that of the exact posterior at every position, and it is calibrated."""
    config = StudyConfig(
        task=TaskConfig(dimensions=2, length=10),
        model=ModelConfig(width=32, layers=3, heads=2),
        training=TrainingConfig(num_steps=3000, warmup=100),
        eval=EvalConfig(every=3000, sequences=2048, min_examples=4),
    )
    results = train_and_compare(config, tmp_path)
    model, exact = results.models["new functions"][TRAINING], results.references[TRAINING]["Bayes"]
    excess = (model.loss - exact.loss).mean(0)
    print("excess by position", np.round(excess, 3))
    assert excess.max() < 0.15
    assert (np.abs(model.coverage.mean(0) - 0.9) < 0.04).all()
    on_random_labels = results.models["new functions"][RANDOM]
    assert tail_mean(on_random_labels.std, 4).mean() > 1.2 * tail_mean(model.std, 4).mean()


@pytest.mark.slow
def test_small_pool_is_memorised_and_new_functions_lead_to_ridge_regression(tmp_path):
    """On new functions, a model of a pool of four is nearer to the posterior over the pool, the other to ridge."""
    config = StudyConfig(
        task=TaskConfig(objective="mean", dimensions=2, length=8, noises=(0.25,), pools=(4, 0)),
        model=ModelConfig(width=32, layers=2, heads=2),
        training=TrainingConfig(num_steps=2000, warmup=100),
        eval=EvalConfig(every=2000, sequences=2048, min_examples=3),
    )
    results = train_and_compare(config, tmp_path)
    rows = {(model, on): (to_pool, to_all) for model, on, to_pool, to_all in results.distances(3)}
    print(rows)
    pool, all_functions = rows["pool of 4", "new functions"]
    assert pool.high < 0.75 * all_functions.low
    pool, _ = rows["pool of 4", OWN_POOL]
    assert pool.high < 0.1
    assert rows["new functions", "new functions"][1].high < 0.1
    model = results.models["new functions"][TRAINING].mean
    exact = {"pool": results.pools["pool of 4"][TRAINING]["pool"], "Bayes": results.references[TRAINING]["Bayes"]}
    distance = {name: tail_mean(np.square(model - p.mean), 3).mean() for name, p in exact.items()}
    print(distance)
    assert distance["pool"] > 4 * distance["Bayes"]
