"""Meta-training of optimizers: bad input, a small run, and the protocol of meta-testing."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

from experiments.cli.tasks import TABLE, TASKS, TUNING
from experiments.optimizer import measure
from experiments.optimizer.build import build
from experiments.optimizer.config import (
    ESTIMATORS,
    PRESETS,
    RULES,
    EvalConfig,
    MetaConfig,
    RuleConfig,
    StudyConfig,
    TrainingConfig,
)
from experiments.optimizer.train import main
from lopt.evaluation import OptimizerTester
from lopt.optimizers import FromOptax
from lopt.protocols import Task
from lopt.rules import load, load_rule
from lopt.tasks import Quadratic
from lopt.training import RunConfig
from tests.reference.ulps import assert_ulps

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    training=TrainingConfig(task="quadratic", num_updates=3),
    rule=RuleConfig(name="adam"),
    meta=MetaConfig(num_steps=4, num_lifetimes=2, num_updates=2, steps_per_chunk=2),
    eval=EvalConfig(every=2, tasks=(), rates=2, tuning_seeds=2, seeds=4),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TrainingConfig(task="digit")}, "did you mean digits"),
        ({"training": TrainingConfig(rescale=0.5)}, "training.rescale must be at least 1"),
        ({"training": TrainingConfig(loss_power=-1.0)}, "training.loss-power must not be negative"),
        ({"rule": RuleConfig(name="mpl")}, "unknown rule 'mpl'; did you mean mlp"),
        ({"meta": MetaConfig(estimator="PSE")}, "unknown estimator"),
        ({"meta": MetaConfig(shaping="sgn")}, "did you mean sign"),
        ({"meta": MetaConfig(num_steps=1001)}, "must be a multiple of the chunk"),
        ({"eval": EvalConfig(every=7)}, "eval.every"),
        ({"eval": EvalConfig(tasks=("rosenbrok",))}, "did you mean rosenbrock"),
        ({"eval": EvalConfig(smallest_rate=2.0)}, "smallest-rate < largest-rate"),
        ({"eval": EvalConfig(rates=1)}, "eval.rates must be at least 2"),
        ({"eval": EvalConfig(seeds=33)}, "eval.seeds must be a multiple of eval.tuning-seeds"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_every_preset_rule_estimator_and_task_can_be_built():
    for preset in PRESETS.values():
        build(preset)
    for name in RULES:
        build(dataclasses.replace(TINY, rule=RuleConfig(name=name)))
    for name in ESTIMATORS:
        build(dataclasses.replace(TINY, meta=dataclasses.replace(TINY.meta, estimator=name)))
    assert all(isinstance(make(), Task) for make in TASKS.values())


@pytest.mark.slow  # six programs are compiled
def test_a_run_writes_its_report_and_rule(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, out=str(tmp_path))))
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["held_out_loss"]) == {"quadratic"}
    optimizers = {"learned", "untrained", "SGD", "Adam", "AdamW", "Lion"}
    assert set(results["held_out_loss"]["quadratic"]) == optimizers
    assert set(results["tuned_rates"]["quadratic"]) == optimizers - {"learned", "untrained"}
    for name in ("report.md", "table.png", "training_curves.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 0
    rule = load_rule(tmp_path / "rule")
    assert rule.card.kind == "lopt.optimizers.LearnableAdam"
    tx = load(tmp_path / "rule")
    assert tx.init({"x": np.zeros(3, np.float32)}).m["x"].shape == (3,)
    assert (rule.theta["log_learning_rate"] != np.float32(np.log(1e-3))).all()


def test_all_optimizers_get_the_same_initial_learners_and_minibatches():
    tester = OptimizerTester(task=Quadratic(dimensions=3, noise=1.0), num_updates=2, batch_size=2)
    first_run, second_run = (
        tester.losses(FromOptax(lambda _, make=make: make(0.1))) for make in (optax.sgd, optax.sgd)
    )
    first = first_run((), TABLE, 4)
    # compiled twice: two updates and a loss of some ten roundings each
    assert_ulps(second_run((), TABLE, 4)[0], first[0], ulps=30)
    assert first[0].shape == (4,) and first[1].shape == (4, 2) and len(np.unique(first[0])) == 4
    assert (first[0] != first_run((), TUNING, 4)[0]).all()


def test_final_loss_of_a_diverged_learner_is_ten_times_its_initial_loss():
    tester = OptimizerTester(task=Quadratic(dimensions=3), num_updates=2, batch_size=2)
    run = tester.losses(FromOptax(lambda rate: optax.sgd(rate)))
    initial = run(np.float32(0.0), TABLE, 2)[0]
    for rate in (np.float32(np.nan), np.float32(1e10)):
        np.testing.assert_allclose(run(rate, TABLE, 2)[0], 10 * initial, rtol=1e-5)


@pytest.mark.slow
def test_learning_rate_is_tuned_with_other_seeds_than_those_of_the_table():
    config = dataclasses.replace(
        TINY,
        training=dataclasses.replace(TINY.training, num_updates=20),
        eval=dataclasses.replace(TINY.eval, rates=3, smallest_rate=1e-3, largest_rate=10.0),
    )
    rule = RULES["sgd"]()
    results = measure.compare(config, rule, {"untrained": rule.init(jax.random.key(0))}, "quadratic")
    assert results["SGD"].rate == pytest.approx(0.1, rel=1e-4)
    assert results["SGD"].losses.mean() < results["untrained"].losses.mean()


@pytest.mark.slow
def test_after_400_meta_steps_the_loss_is_below_that_of_tuned_adam_on_the_task_of_meta_training():
    config = StudyConfig(meta=MetaConfig(num_steps=400, num_lifetimes=16))
    study, steps = build(config), 400

    @jax.jit
    def train(key):
        def body(state, i):
            return study.learner.step(jax.random.fold_in(key, i), state)[0], None

        return jax.lax.scan(body, study.learner.init(key), np.arange(steps))[0].theta

    tester = OptimizerTester(task=TASKS["digits"](), num_updates=config.training.num_updates, batch_size=8)
    learned = tester.losses(study.rule)(train(jax.random.key(0)), TABLE, 32)[0]
    adam = tester.losses(FromOptax(optax.adam))
    tuned = min((adam(np.float32(rate), TABLE, 32)[0] for rate in (0.01, 0.02, 0.03, 0.05)), key=np.mean)
    assert np.mean(np.log(learned) - np.log(tuned)) < -0.05  # although Adam is tuned on the seeds of the test itself
