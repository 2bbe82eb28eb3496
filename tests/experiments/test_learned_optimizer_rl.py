"""Meta-training of the optimizer of PPO agents: bad input, the choice of the study by its task, tuning, a small run."""

import dataclasses
import json
import runpy

import jax
import numpy as np
import pytest

from experiments.agents.meta_test import MetaTestResult
from experiments.agents.settings import InnerConfig
from experiments.agents.tuning import TuningConfig, tune
from experiments.cli import command_line
from experiments.cli.environments import full_name, is_environment
from experiments.cli.evolution import ESConfig
from experiments.optimizer.config import RuleConfig, StudyConfig, TrainingConfig
from experiments.optimizer.rl import PRESETS, RLStudyConfig, main
from experiments.optimizer.rl.build import build
from experiments.optimizer.rl.config import RLEvalConfig, RLMetaConfig, RLTrainingConfig
from lopt.rules import load_rule
from lopt.training import RunConfig

INNER = InnerConfig(num_envs=2, rollout_length=4, total_steps=16, epochs=1, num_minibatches=2, hidden=(3,))
TINY = RLStudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    training=RLTrainingConfig(task="catch"),
    inner=INNER,
    meta=RLMetaConfig(num_steps=2, num_lifetimes=2),
    es=ESConfig(episodes=2),
    eval=RLEvalConfig(seeds=2, episodes=2, every=2, rates=2, tuning_seeds=2),
)


def change(config, **changes):
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: build(change(TINY, training=RLTrainingConfig(task="CartPole-v2"))), "did you mean CartPole-v1"),
        (lambda: StudyConfig(training=TrainingConfig(task="cartpol")), "did you mean cartpole"),
        (lambda: change(TINY, training=RLTrainingConfig(fitness="finl")), "did you mean final"),
        (lambda: change(TINY, rule=RuleConfig(name="opne")), "did you mean open"),
        (lambda: change(TINY, inner=change(INNER, learning_rate=0.1)), "inner.learning-rate must not be given"),
        (lambda: change(TINY, inner=change(INNER, anneal=True)), "inner.anneal must not be given"),
        (lambda: change(TINY, eval=RLEvalConfig(rates=1)), "eval.rates must be at least 2"),
        (lambda: change(TINY, eval=RLEvalConfig(largest_rate=1e-5)), "smallest-rate < largest-rate"),
        (lambda: change(TINY, eval=RLEvalConfig(every=0)), "eval.every must be a multiple"),
        (lambda: change(TINY, meta=RLMetaConfig(num_lifetimes=0)), "meta.num-lifetimes must be at least 1"),
        (lambda: change(TINY, es=ESConfig(shaping="rnak")), "did you mean rank"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_short_names_are_those_of_environments():
    assert full_name("cartpole") == "CartPole-v1" and full_name("Catch-bsuite") == "Catch-bsuite"
    assert all(map(is_environment, ("cartpole", "Acrobot-v1", "brax/ant", "grid/rand_small")))
    assert not any(map(is_environment, ("digits", "mypackage.my_task", "cartpol", "")))
    assert change(TINY, eval=RLEvalConfig(envs=("catch", "acrobot"))).envs == ("Catch-bsuite", "Acrobot-v1")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--training.task", "cartpole"], RLStudyConfig),
        (["--seed", "1", "--training.task=Catch-bsuite"], RLStudyConfig),
        (["--training.task", "wine"], StudyConfig),
        (["--training.task", "cartpole", "--training.task", "wine"], StudyConfig),
        (["--training.task"], StudyConfig),
        ([], StudyConfig),
    ],
)
def test_the_task_chooses_the_study(arguments, expected, monkeypatch):
    launched = []
    monkeypatch.setattr(command_line, "launch", lambda main, config, presets: launched.append(config))
    monkeypatch.setattr("experiments.cli.memory.restart_with_huge_pages", lambda: None)
    monkeypatch.setattr("sys.argv", ["learned_optimizer", *arguments])
    runpy.run_module("experiments.learned_optimizer", run_name="__main__")
    assert launched == [expected]


def test_every_preset_can_be_built_and_its_rule_is_open():
    for preset in PRESETS.values():
        assert type(build(preset).rule).__name__ == "OpenRule"


@pytest.mark.parametrize("fitness", ["final", "lifetime"])
def test_a_meta_step_keeps_the_type_of_the_state(fitness):
    study = build(change(TINY, training=RLTrainingConfig(task="catch", fitness=fitness)))
    state = jax.eval_shape(study.learner.init, jax.random.key(0))
    after, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"meta_loss", f"{fitness}_return", "frac_nonfinite"} <= set(metrics)


def test_a_baseline_is_tuned_over_rates_and_annealing_by_the_fitness():
    """Over the lifetime the best constant rate has mean 2, the best annealed one 3, at the edge."""
    sizes = TuningConfig(rates=3, smallest_rate=0.01, largest_rate=1.0, tuning_seeds=2)
    constant = dict(zip((0.01, 0.1, 1.0), ((1.0, 9.0), (2.0, 0.0), (np.nan, 0.0)), strict=True))
    annealed = dict(zip((0.01, 0.1, 1.0), ((0.0, 0.0), (1.0, 0.0), (3.0, 1.0)), strict=True))

    def tester(by_rate):
        def test(keys, rate):
            (lifetime, final) = next(value for known, value in by_rate.items() if np.isclose(known, rate))
            return MetaTestResult(curve=np.full((len(keys), 4), lifetime), final=np.full(len(keys), final))

        return test

    testers = {"constant": tester(constant), "annealed": tester(annealed)}
    tuned = tune(sizes, "lifetime", testers)
    assert tuned.variant == "annealed" and tuned.at_edge and tuned.rate == pytest.approx(1.0)
    assert tuned.scores["constant"] == [1.0, 2.0, -np.inf]
    by_final = tune(sizes, "final", testers)
    assert by_final.variant == "constant" and by_final.rate == pytest.approx(0.01)


@pytest.mark.slow  # ten programs are compiled
def test_a_run_writes_its_report_and_rule(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(change(TINY, run=change(TINY.run, out=str(tmp_path))))
    for name in ("report.md", "agents.png", "curves.png", "rule.npz"):
        assert (tmp_path / name).stat().st_size > 0, name
    results = json.loads((tmp_path / "results.json").read_text())
    optimizers = {"learned", "untrained", "Adam", "Lion"}
    assert set(results["returns"]["Catch-bsuite"]) == optimizers
    assert set(results["learned_minus"]["Catch-bsuite"]) == optimizers - {"learned"}
    assert set(results["tuned"]["Catch-bsuite"]) == {"Adam", "Lion"}
    rule = load_rule(tmp_path / "rule")
    assert rule.card.kind == "lopt.optimizers.OpenRule" and rule.card.meta_steps == 2
    initial = jax.jit(build(TINY).rule.init)(jax.random.key(0))
    assert jax.tree.structure(rule.theta) == jax.tree.structure(initial)
