"""Meta-training of the normalised rule on several tasks: bad input, a small run, and the protocol of the table."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.optimizer.normalised import PRESETS, NormalisedStudyConfig, main, measure
from experiments.optimizer.normalised.build import build
from experiments.optimizer.normalised.config import EvalConfig, MetaConfig, RuleConfig, TrainingConfig
from experiments.optimizer.normalised.report import over_rules, summary, trained_rules
from experiments.optimizer.normalised.train import read
from lopt.optimizers import LearnableSGD, NormalisedRule
from lopt.rules import card_of, load, load_rule, save_rule
from lopt.training import RunConfig

TINY = NormalisedStudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    training=TrainingConfig(tasks=("quadratic", "rosenbrock"), rates=(0.1, 0.01), shortest=2, num_updates=4),
    rule=RuleConfig(hidden=(2,)),
    meta=MetaConfig(num_steps=4, num_lifetimes=2, num_updates=2, steps_per_chunk=2),
    eval=EvalConfig(every=2, validation=("quadratic",), tasks=("quadratic:3",), rates=2, tuning_seeds=2, seeds=4),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": TrainingConfig(tasks=("digit",))}, "did you mean digits"),
        ({"training": TrainingConfig(tasks=())}, "training.tasks must have at least one task"),
        (
            {"training": TrainingConfig(tasks=("digits",), rates=(0.1, 0.2))},
            "training.rates must have a number for each",
        ),
        ({"training": TrainingConfig(tasks=("iris",))}, "training.rates must be given: .* for iris"),
        ({"training": TrainingConfig(rescale=0.5)}, "training.rescale must be at least 1"),
        ({"training": TrainingConfig(window_share=1.5)}, "training.window-share must be between 0 and 1"),
        ({"training": TrainingConfig(shortest=501)}, "training.shortest must be at most training.num-updates"),
        ({"rule": RuleConfig(hidden=(0,))}, "rule.hidden must be at least 1"),
        ({"meta": MetaConfig(norm_decay=1.0)}, "meta.norm-decay must be at least 0 and below 1"),
        ({"meta": MetaConfig(num_steps=1001)}, "must be a multiple of the chunk"),
        ({"eval": EvalConfig(validation=("digits_dep",))}, "did you mean digits_deep"),
        ({"eval": EvalConfig(validation=("iris",))}, "eval.validation must be tasks of meta-training"),
        ({"eval": EvalConfig(tasks=("digits",))}, "expected name:updates, such as digits:200"),
        ({"eval": EvalConfig(tasks=("digits:0",))}, "expected name:updates, such as digits:200"),
        ({"eval": EvalConfig(smallest_rate=2.0)}, "smallest-rate < largest-rate"),
        ({"eval": EvalConfig(seeds=33)}, "eval.seeds must be a multiple of eval.tuning-seeds"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(changes, message):
    with pytest.raises(ValueError, match=message):
        NormalisedStudyConfig(**changes)


def test_the_presets_can_be_built_and_a_rule_of_another_architecture_is_refused(tmp_path):
    for preset in PRESETS.values():
        assert build(preset).learner.estimator.names == preset.training.tasks
    build(dataclasses.replace(TINY, meta=dataclasses.replace(TINY.meta, num_steps=0)))
    save_rule(tmp_path / "sgd", {"log_learning_rate": np.zeros(()), "log_decay": np.zeros(())}, card_of(LearnableSGD()))
    with pytest.raises(ValueError, match=r"eval.rules: .*sgd must be a NormalisedRule of widths \(2,\)"):
        read(TINY, str(tmp_path / "sgd"))


@pytest.mark.slow  # ten programs are compiled
def test_a_run_writes_its_report_and_rule_and_tests_other_rules(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    rule = NormalisedRule(hidden=(2,))
    other = str(save_rule(tmp_path / "other", jax.device_get(rule.init(jax.random.key(0))), card_of(rule)))
    config = dataclasses.replace(
        TINY,
        run=dataclasses.replace(TINY.run, out=str(tmp_path / "run")),
        eval=dataclasses.replace(TINY.eval, rules=(other,)),
    )
    main(config)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    rules = {measure.LEARNED, measure.INITIAL, f"{measure.LEARNED}, {other}"}
    assert set(results["held_out_loss"]) == {"quadratic:3"}
    assert set(results["held_out_loss"]["quadratic:3"]) == rules | set(measure.BASELINES)
    assert set(results["log10_ratio_to_best_baseline"]["quadratic:3"]) == rules
    per_seed = results["per_seed"]["quadratic:3"]
    assert all(len(losses) == 4 for losses in per_seed.values())
    # a file with initial meta-parameters, whatever their seed, is the initial rule: the last layer is zero
    np.testing.assert_allclose(per_seed[f"{measure.LEARNED}, {other}"], per_seed[measure.INITIAL], rtol=1e-6)
    assert per_seed[measure.LEARNED] != per_seed[measure.INITIAL]
    for name in ("report.md", "table.png", "curves.png"):
        assert (tmp_path / "run" / name).stat().st_size > 0
    saved = load_rule(tmp_path / "run" / "rule")
    assert saved.card.kind == "lopt.optimizers.NormalisedRule" and saved.card.meta_steps == 4
    assert load(tmp_path / "run" / "rule").init({"x": np.zeros(3, np.float32)}).fast["x"].shape == (3,)


def test_the_best_baseline_is_chosen_by_the_tuning_and_not_by_the_table():
    rates = np.array([0.1, 1.0])
    row = {
        name: measure.Result(np.full(4, 1.0 + i), rates, np.array([9.0 - i, 10.0]))
        for i, name in enumerate(measure.BASELINES)
    }
    row[measure.LEARNED] = measure.Result(np.zeros(4), rates, np.array([0.0, 1.0]))
    assert measure.best_baseline(row) == list(measure.BASELINES)[-1]
    assert row["Adam"].best == 0 and row["Adam"].at_edge


def test_an_interval_over_rules_and_learners_holds_the_variance_of_both():
    rates, tuning = np.array([0.1, 1.0]), np.array([1.0, 2.0])
    adam = 10 ** np.random.default_rng(0).normal(size=200)
    row = {name: measure.Result(adam, rates, tuning) for name in measure.BASELINES}
    row[measure.INITIAL] = measure.Result(adam, rates, tuning)
    # the same losses times 10 and times 1,000
    row[measure.LEARNED] = measure.Result(10 * adam, rates, tuning)
    row[f"{measure.LEARNED}, other"] = measure.Result(1000 * adam, rates, tuning)
    found = over_rules(row, "Adam")
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 1.0, 3.0))
    assert "The 2 trained rules together" in summary({"task": row})
    assert trained_rules(row) == [measure.LEARNED, f"{measure.LEARNED}, other"]
