"""The study of regression in context: bad input, fair measurement, and whole small runs that resume."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common.config import RunConfig
from experiments.common.folder import open_folder
from experiments.icl_uncertainty import measure
from experiments.icl_uncertainty.build import LONGER, TRAINING, Study
from experiments.icl_uncertainty.config import EvalConfig, ModelConfig, StudyConfig, TaskConfig, TrainingConfig
from experiments.icl_uncertainty.presets import PRESETS
from experiments.icl_uncertainty.report import OWN, RANDOM, Found, late_mean
from experiments.icl_uncertainty.train import compare, main, train
from lopt.export import load_rule
from lopt.incontext import Transformer

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    task=TaskConfig(dimensions=2, length=4, pools=(0,)),
    model=ModelConfig(width=4, layers=1, heads=1),
    training=TrainingConfig(num_steps=4, batch=2, warm_up=1, steps_per_chunk=2),
    eval=EvalConfig(every=2, sequences=8, late=1),
)
POOLED = dataclasses.replace(TINY, task=dataclasses.replace(TINY.task, objective="mean", noises=(0.25,), pools=(2, 0)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": TaskConfig(objective="mean_std")}, "did you mean mean_and_std"),
        ({"task": TaskConfig(noises=(0.0,))}, "all must be positive"),
        ({"task": TaskConfig(pools=(4, 4))}, "task.pools must be different sizes"),
        ({"task": TaskConfig(pools=())}, "task.pools must be different sizes"),
        ({"training": TrainingConfig(num_steps=8001)}, "must be a multiple of the chunk"),
        ({"training": TrainingConfig(warm_up=0)}, "training.warm-up"),
        ({"training": TrainingConfig(batch=0)}, "training.batch must be at least 1"),
        ({"eval": EvalConfig(every=7)}, "eval.every"),
        ({"eval": EvalConfig(late=20)}, "eval.late must be less"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_presets_build():
    for preset in PRESETS.values():
        study = Study(preset)
        assert study.model.model.positions == 2 * preset.task.length
        plain = Study(dataclasses.replace(preset, model=ModelConfig(paired=False))).model
        assert isinstance(plain, Transformer) and plain.inputs == preset.task.dimensions
        assert study.shifts()[TRAINING].pool is None and len(study.shifts()) >= 8
        assert study.shifts()[LONGER].length == 2 * preset.task.length
        skewed = study.shifts()["inputs of a skewed covariance"].inputs.scales
        assert np.square(skewed).sum() == pytest.approx(preset.task.dimensions)


def test_the_reference_is_exact_where_it_should_be():
    """By its coverage, and by its loss beside that of a rule that ignores the inputs."""
    study = Study(TINY)
    exact = measure.references(study)["Bayes"](measure.sequences(study.shifts()[TRAINING], measure.TABLE, 2000))
    standard = np.square((exact.ys - exact.mean) / exact.std)
    assert (np.abs(standard.mean(0) - 1) < 4 * standard.std(0) / 2000**0.5).all()
    assert (np.abs(exact.covered.mean(0) - 0.9) < 0.03).all()
    constant = measure.Predicted(exact.ys, np.zeros_like(exact.ys), np.full_like(exact.ys, exact.ys.std()))
    assert late_mean(exact.loss, 1).mean() < late_mean(constant.loss, 1).mean()


def test_models_and_references_are_asked_the_same():
    """The same sequences for the same arguments; random labels are other sequences' labels."""
    study = Study(TINY)
    one, other = (measure.sequences(study.shifts()[TRAINING], measure.TABLE, 8) for _ in range(2))
    np.testing.assert_array_equal(one.ys, other.ys)
    mixed = measure.random_labels(one)
    np.testing.assert_array_equal(mixed.ys[1:], one.ys[:-1])
    theta = jax.jit(study.model.init)(jax.random.key(0))
    found = measure.trained(study)(theta, one)
    np.testing.assert_array_equal(found.ys, one.ys)
    ys_prev = jnp.concatenate([jnp.zeros((1, 1)), one.ys[3, :-1, None]])
    alone = jax.jit(study.model.apply)(theta, one.xs[3], ys_prev)
    np.testing.assert_allclose(found.mean[3], alone[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.std[3], np.exp(alone[:, 1]), rtol=1e-4)


def test_distances_are_zero_to_oneself():
    rng = np.random.default_rng(0)
    ys, mean = rng.normal(size=(2, 50, 4))
    exact, pool = (measure.Predicted(ys, m, np.full_like(ys, np.nan)) for m in (mean, mean + 1))
    found = Found(
        {"pool of 2": {TRAINING: pool, OWN: exact}},
        {TRAINING: {"Bayes": exact}},
        {"pool of 2": {TRAINING: {"pool": pool}, OWN: {"pool": pool, "Bayes": exact}}},
    )
    rows = found.distances(1)
    unit = np.square(ys).mean()
    values = [(who, on, round(a.value * unit, 6), round(b.value * unit, 6)) for who, on, a, b in rows]
    assert values == [("pool of 2", "new functions", 0, 1), ("pool of 2", OWN, 1, 0)]


@pytest.mark.slow  # many programs are compiled
@pytest.mark.parametrize("config", [TINY, POOLED], ids=["uncertainty", "pools"])
def test_a_whole_run(config, tmp_path, monkeypatch):
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


def learned(config, tmp_path):
    """Weights after a run, and everyone's predictions."""
    study = Study(dataclasses.replace(config, run=dataclasses.replace(TINY.run, out=str(tmp_path))))
    outcome = train(study, open_folder(study.config, "test"))
    return compare(study, {name: state[0] for name, state in outcome.state.items()})


@pytest.mark.slow
def test_a_transformer_learns_to_know_what_it_does_not_know(tmp_path):
    """In two dimensions its loss comes near that of the exact posterior, at every position, and it is calibrated."""
    config = StudyConfig(
        task=TaskConfig(dimensions=2, length=10),
        model=ModelConfig(width=32, layers=3, heads=2),
        training=TrainingConfig(num_steps=3000, warm_up=100),
        eval=EvalConfig(every=3000, sequences=2048, late=4),
    )
    found = learned(config, tmp_path)
    ours, exact = found.models["new functions"][TRAINING], found.references[TRAINING]["Bayes"]
    excess = (ours.loss - exact.loss).mean(0)
    print("excess by position", np.round(excess, 3))
    assert excess.max() < 0.15
    assert (np.abs(ours.covered.mean(0) - 0.9) < 0.04).all()
    ignorant = found.models["new functions"][RANDOM]
    assert late_mean(ignorant.std, 4).mean() > 1.2 * late_mean(ours.std, 4).mean()


@pytest.mark.slow
def test_few_functions_are_remembered_and_new_ones_are_learned(tmp_path):
    """On new functions: four make it nearer to the posterior over these four, ever new ones to ridge regression."""
    config = StudyConfig(
        task=TaskConfig(objective="mean", dimensions=2, length=8, noises=(0.25,), pools=(4, 0)),
        model=ModelConfig(width=32, layers=2, heads=2),
        training=TrainingConfig(num_steps=2000, warm_up=100),
        eval=EvalConfig(every=2000, sequences=2048, late=3),
    )
    found = learned(config, tmp_path)
    rows = {(who, on): (pool, everything) for who, on, pool, everything in found.distances(3)}
    print(rows)
    pool, everything = rows["pool of 4", "new functions"]
    assert pool.high < 0.75 * everything.low
    pool, everything = rows["pool of 4", OWN]
    assert pool.high < 0.1
    assert rows["new functions", "new functions"][1].high < 0.1
    model = found.models["new functions"][TRAINING].mean
    exact = {"pool": found.pools["pool of 4"][TRAINING]["pool"], "Bayes": found.references[TRAINING]["Bayes"]}
    away = {who: late_mean(np.square(model - them.mean), 3).mean() for who, them in exact.items()}
    print(away)
    assert away["pool"] > 4 * away["Bayes"]
