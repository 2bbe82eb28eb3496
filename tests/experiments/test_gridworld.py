"""Meta-training on grid worlds: bad input, a small run, stopping and resuming, and compatibility options."""

import dataclasses
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cli.command_line import parse
from experiments.cli.evolution import ESConfig
from experiments.cli.levels import LEVELS
from experiments.grid import measure, report, start
from experiments.grid.build import build, with_start
from experiments.grid.compat import GrooveCompat, MeanAdvantageA2C, RawTime, mean_over_time
from experiments.grid.config import (
    AgentConfig,
    CurriculumConfig,
    EvalConfig,
    LevelsConfig,
    MetaConfig,
    RuleConfig,
    StudyConfig,
)
from experiments.grid.groove_presets import PRESETS
from experiments.grid.lpg_presets import PRESETS as LPG_PRESETS
from experiments.grid.names import COMPATIBLE, SCORES
from experiments.grid.report import NORMALISED, PANELS, RETURN, differences, lifetimes, references
from experiments.grid.train import Validation, main
from lopt import curriculum
from lopt.agents import Imitation
from lopt.evaluation import normalised
from lopt.objectives import Fraction, FractionAndLogNumUpdates, ScheduledA2C
from lopt.rules import card_of, load_rule, rebuild, save_rule
from lopt.training import RunConfig, StopRequest
from lopt.types import Progress

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    levels=LevelsConfig(distribution="small", num_updates=4),
    rule=RuleConfig(hidden=4, prediction_size=3, embedding=2),
    agent=AgentConfig(num_envs=2, rollout_length=4),
    meta=MetaConfig(num_steps=4, num_lifetimes=4, num_updates=2, chunk_size=2, steps_per_chunk=2),
    curriculum=CurriculumConfig(buffer=8, episodes=2),
    eval=EvalConfig(every=2, levels=2, final_levels=3, seeds=2, episodes=2),
)


def change(config, **changes):
    return dataclasses.replace(config, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "alg_regert"}, "did you mean alg_regret"),
        ({"compat": ("mean-advantge",)}, "unknown compat .* did you mean mean-advantage"),
        ({"levels": LevelsConfig(distribution="al")}, "did you mean all"),
        ({"levels": LevelsConfig(num_updates=5, shortest=6)}, "levels.shortest"),
        ({"meta": MetaConfig(num_lifetimes=64, chunk_size=5)}, "must divide"),
        ({"meta": MetaConfig(num_steps=5001)}, "must be a multiple of the chunk"),
        ({"eval": EvalConfig(every=7)}, "eval.every"),
        ({"curriculum": CurriculumConfig(buffer=100)}, "at least twice"),
        ({"curriculum": CurriculumConfig(rate_arms=(1.0,))}, "rate-arms needs score uniform"),
        ({"meta": MetaConfig(estimator="ess")}, "unknown estimator"),
        ({"es": ESConfig(strategy="Open_SE")}, "did you mean Open_ES"),
        ({"es": ESConfig(shaping="ranks")}, "did you mean rank"),
        ({"es": ESConfig(population=7)}, r"es.population must be even and at least 2 \(got 7\)"),
        ({"es": ESConfig(pack=7)}, "es.pack must divide meta.num-lifetimes"),
        ({"levels": LevelsConfig(num_updates=0)}, "levels.shortest"),
    ],
)
def test_bad_input_raises_a_message_with_the_option(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_every_preset_can_be_built():
    for preset in (*PRESETS.values(), *LPG_PRESETS.values()):
        build(preset)


def progress_of(lifetimes, fractions=(0.0, 0.5, 1.0)):
    """Progress at these fractions n / N of lifetimes of these lengths."""
    return [Progress(jnp.int32(x * n), jnp.int32(n)) for n in lifetimes for x in fractions]


@pytest.mark.parametrize(("name", "bound"), [("ta", 1.0), ("ta_paper", 0.5 * np.log(250 / 10) + 1e-6)])
def test_time_inputs_are_of_order_one_over_the_lifetimes_of_a_preset(name, bound):
    preset = LPG_PRESETS[name]
    rule = build(preset).rule
    levels = preset.levels
    features = np.array(
        [rule.conditioning(progress) for progress in progress_of((levels.shortest, levels.num_updates))]
    )
    assert np.abs(features).max() <= bound
    np.testing.assert_allclose(features[0, 1], -features[-1, 1], rtol=1e-5)


def test_reference_of_log_lifetime_is_the_only_lifetime_or_that_of_the_initial_rule_file(tmp_path):
    timed = change(TINY, rule=change(TINY.rule, time="normalised"))
    study = build(timed)
    assert study.rule.conditioning == FractionAndLogNumUpdates(reference=4.0)
    old = dataclasses.replace(study.rule, conditioning=FractionAndLogNumUpdates(reference=250.0))
    path = save_rule(tmp_path / "rule", old.init(jax.random.key(0)), card_of(old))
    assert rebuild(load_rule(path).card).conditioning.reference == 250.0
    continued = build(change(timed, rule=change(timed.rule, start=str(tmp_path / "rule"))))
    assert continued.rule.conditioning.reference == continued.lifetime.objective.conditioning.reference == 250.0


@pytest.mark.parametrize("name", LEVELS)
def test_every_level_distribution_can_be_built(name):
    study = build(change(TINY, levels=LevelsConfig(distribution=name, num_updates=4), score="pvl"))
    assert jax.eval_shape(study.init, jax.random.key(0)).assignment.slot.shape == (4,)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_can_be_built(name):
    study = build(change(TINY, score=name))
    assert isinstance(study.learner.curriculum, curriculum.DomainRandomisation) == (name == "uniform")


@pytest.mark.parametrize("strategy", ["pairs", "Open_ES", "SNES", "Sep_CMA_ES"])
@pytest.mark.parametrize("score", ["uniform", "alg_regret"])
def test_evolution_strategies_work_with_and_without_replay(strategy, score):
    """A meta-step has the same state type and the metrics of the estimator."""
    meta = change(TINY.meta, estimator="es")
    config = change(TINY, score=score, meta=meta, es=ESConfig(strategy=strategy, population=4, episodes=2, pack=2))
    study = build(config)
    state = jax.eval_shape(study.init, jax.random.key(0))
    after, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"meta_loss", "final_return", "frac_updates_skipped", "frac_updates_wasted", "frac_nonfinite"} <= set(
        metrics
    )
    assert study.lifetime.baseline is None


def test_bandit_over_learning_rates_has_one_arm_per_pair_of_factors():
    arms = change(TINY.curriculum, rate_arms=(0.5, 1.0, 2.0), prediction_arms=(1.0, 2.0))
    study = build(change(TINY, score="uniform", curriculum=arms))
    assert len(study.learner.curriculum.arms) == 6
    state = jax.eval_shape(study.init, jax.random.key(0))
    after, metrics = jax.eval_shape(study.learner.step, jax.random.key(0), state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {f"arm_{i}" for i in range(6)} <= set(metrics)


def test_compatibility_options_are_independent_and_groove_stands_for_all():
    default, frozen = build(TINY), build(change(TINY, compat=("frozen-value-baseline",)))
    assert type(default.lifetime.baseline.critic) is not type(frozen.lifetime.baseline.critic)
    assert frozen.lifetime.transform_advantage is not mean_over_time and frozen.rule.input_gradient
    assert isinstance(build(change(TINY, compat=("mean-advantage",))).antagonist.objective, MeanAdvantageA2C)
    top = build(change(TINY, compat=("deterministic-replay",))).learner.curriculum
    assert isinstance(top, GrooveCompat) and top.top_transform and not top.reset_bug
    flags = build(change(TINY, compat=("level-flag-bug",))).learner.curriculum
    assert isinstance(flags, GrooveCompat) and flags.reset_bug and not flags.top_transform
    assert not build(change(TINY, compat=("stopped-rule-inputs",))).rule.input_gradient
    timed = change(TINY, rule=change(TINY.rule, time="normalised"), compat=("raw-time",))
    assert build(timed).rule.conditioning == RawTime()
    everything = build(change(TINY, compat=("groove",)))
    assert everything.learner.curriculum.reset_bug and everything.learner.curriculum.top_transform
    assert everything.lifetime.transform_advantage is mean_over_time and not everything.rule.input_gradient


def test_help_explains_every_compatibility_option(capsys):
    with pytest.raises(SystemExit):
        parse(StudyConfig, PRESETS, ["--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in COMPATIBLE)


def test_normalised_score_is_half_for_a_return_between_random_and_a2c():
    random, a2c = np.zeros(4), np.full((2, 4), 2.0)
    assert normalised(np.full((2, 4), 1.0), random, a2c) == 0.5
    interval = measure.normalised_interval(np.full((2, 4), 1.0), random, a2c)
    assert interval.value == interval.low == interval.high == 0.5


def metrics(folder):
    """The logged metrics of a run, without those of the wall time."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in lines]


def test_a_rule_may_start_as_an_imitation_of_a2c_or_of_a_trained_schedule(tmp_path, monkeypatch):
    monkeypatch.setattr(start, "NUM_LEVELS", 2)
    monkeypatch.setattr(start, "Imitation", partial(Imitation, num_steps=2, batch_size=2))
    imitating = change(TINY, rule=change(TINY.rule, start="a2c", normalise=True, time="fraction"))
    of_a2c, again = (with_start(imitating, build(imitating)) for _ in range(2))
    assert of_a2c.rule.normalise and of_a2c.rule.conditioning == Fraction()
    assert jax.tree.all(jax.tree.map(np.array_equal, of_a2c.theta, again.theta))
    assert not jax.tree.all(jax.tree.map(np.array_equal, of_a2c.theta, of_a2c.rule.init(jax.random.key(0))))

    schedules = ScheduledA2C(normalise=False)
    theta = jax.tree.map(lambda x: x + 1, schedules.init(jax.random.key(0)))
    save_rule(tmp_path / "schedules_0", theta, card_of(schedules, command="", seed=0, meta_steps=1))
    from_file = change(imitating, rule=change(imitating.rule, start=str(tmp_path / "schedules_{seed}")))
    different = jax.tree.map(
        lambda x, y: np.abs(x - y).max() > 0, with_start(from_file, build(from_file)).theta, of_a2c.theta
    )
    assert any(jax.tree.leaves(different))
    other = change(from_file, rule=change(from_file.rule, objective="lopt.objectives.A2C"))
    with pytest.raises(ValueError, match="only lpg imitates"):
        with_start(other, build(other))


def test_schedules_are_meta_trained_by_evolution_strategies_on_the_second_half(key):
    """The prediction is a critic, which starts at zero weights of time and is frozen where its rate is zero."""
    es = MetaConfig(
        estimator="es", fitness="second_half", num_steps=2, num_lifetimes=2, chunk_size=None, steps_per_chunk=2
    )
    config = change(TINY, score="uniform", rule=change(TINY.rule, objective="scheduled_a2c_raw"), meta=es)
    study = build(change(config, es=ESConfig(strategy="CMA_ES", population=4)))
    state = jax.jit(study.init)(key)
    after, metrics = jax.jit(study.learner.step)(key, state)
    assert np.isfinite(metrics["meta_loss"]) and np.isfinite(metrics["lifetime_return"])
    assert set(after.theta) == set(study.rule.init(key))
    assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(after.theta))


def comparison(returns):
    return report.comparison(returns, differences(returns))


def conclusion(returns):
    return report.conclusion(differences(returns))


def test_the_comparison_is_with_the_better_one_of_the_two_baselines():
    """32 levels with A2C at 1, raw A2C at 1.5 and the random policy at 0."""
    ones = np.ones((2, 32))
    returns = {measure.UNTRAINED: 0 * ones, "A2C": ones, measure.RAW_A2C: 1.5 * ones, "random": 0 * ones[:1]}
    rule = returns | {measure.TRAINED: 1.2 * ones, measure.FROZEN: ones}
    text = comparison(rule)
    assert "worse than the better one of the two A2C baselines: difference -0.3 " in conclusion(rule)
    assert "higher than A2C's on 32 of 32 levels and lower on 0" in text
    assert "uses its prediction: with the prediction frozen its score differs by -0.2 " in text
    rule = returns | {measure.TRAINED: 2 * ones, measure.FROZEN: 2 * ones}
    assert "better than the better one of the two A2C baselines" in conclusion(rule)
    assert "does not demonstrably use" in comparison(rule)
    text = comparison(returns | {measure.TRAINED: 0 * ones})
    assert "meta-training had no effect" in text and "frozen" not in text
    noisy = 1.5 + np.random.default_rng(0).normal(size=(2, 32))
    assert "not distinguishable from" in conclusion(returns | {measure.TRAINED: noisy})
    assert lifetimes(LPG_PRESETS["ta"]) == "10 to 50" and lifetimes(TINY) == "4"


def test_differences_are_those_of_the_scores_and_pairs_cancel_what_they_share():
    rng = np.random.default_rng(0)
    random, a2c = rng.normal(size=64), rng.normal(size=(2, 64)) + 3
    first = rng.normal(size=(2, 64)) + 2
    gap = measure.difference(first, first - 0.5, random, a2c)
    assert np.isclose(gap.value, 0.5 / (a2c.mean() - random.mean()))
    assert gap.high - gap.low < 0.3 * gap.value  # only the denominator varies


def test_a_level_counts_by_its_own_range_and_not_where_nothing_can_be_learned():
    random, optimal = np.array([0.0, 1.0, 5.0]), np.array([1.0, 11.0, 5.0])
    returns = np.array([[0.5, 6.0, 5.0], [0.5, 6.0, 4.0]])
    assert measure.per_level_interval(returns, random, optimal).value == 0.5


def test_a_stopped_run_leaves_a_report_with_learning_curves(tmp_path, monkeypatch):
    """The run is stopped between meta-steps, as by Ctrl-C, and is not meta-tested."""
    stop = type("Stop", (StopRequest,), {"requested": property(lambda self: self.validations > 1)})
    stop.validations = 0

    def validate(self, key, step, state, logger):
        stop.validations += 1
        original(self, key, step, state, logger)

    original = Validation.__call__
    monkeypatch.setattr(Validation, "__call__", validate)
    monkeypatch.setattr("lopt.training.loop.StopRequest", stop)
    monkeypatch.setattr(measure, "table", None)
    main(change(TINY, run=change(TINY.run, out=str(tmp_path))))
    assert "stopped at meta-step 2 of 4, not finished" in load_rule(tmp_path / "rule").card.notes
    assert load_rule(tmp_path / "rule").card.meta_steps == 2
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert "curves.png" in (tmp_path / "report.md").read_text()


def test_a_resumed_run_equals_an_uninterrupted_one_and_writes_its_report(tmp_path, capsys):
    uninterrupted = change(TINY, run=change(TINY.run, out=str(tmp_path / "whole")))
    main(uninterrupted)
    for name in (
        "report.md",
        "results.json",
        "curves.png",
        "rule.npz",
        "rule.json",
        "levels.png",
        "table.png",
        "response.png",
    ):
        assert (tmp_path / "whole" / name).stat().st_size > 0, name
    assert load_rule(tmp_path / "whole" / "rule").card.meta_steps == 4
    names = {measure.TRAINED, measure.FROZEN, measure.UNTRAINED, "A2C", "A2C, critic frozen", measure.RAW_A2C}
    names |= {"random", "optimal"}
    results = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert set(results["returns"]) == names
    assert results["a2c_normalised"]["A2C"]["value"] == 1 and results["a2c_normalised"]["random"]["value"] == 0

    interrupted = change(TINY, run=change(TINY.run, out=str(tmp_path / "parts"), max_minutes=1e-9))
    main(interrupted)
    assert "to go on" in capsys.readouterr().out
    assert (
        f"stopped at meta-step {TINY.meta.steps_per_chunk} of 4, not finished"
        in load_rule(tmp_path / "parts" / "rule").card.notes
    )
    report = (tmp_path / "parts" / "report.md").read_text()
    assert "The run is not finished" in report and " --resume\n" in report
    assert not (tmp_path / "parts" / "results.json").exists()
    main(change(interrupted, run=change(interrupted.run, max_minutes=None, resume=True)))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "parts")
    first, second = (load_rule(tmp_path / name / "rule").theta for name in ("whole", "parts"))
    assert jax.tree.all(jax.tree.map(np.array_equal, first, second))

    assert "not finished" not in load_rule(tmp_path / "parts" / "rule").card.notes
    assert "not finished" not in (tmp_path / "parts" / "report.md").read_text()
    curve = [row for row in metrics(tmp_path / "whole") if "held_out/a2c_normalised" in row]
    assert [row["step"] for row in curve] == [0, 2, 4]
    assert len({row["held_out/a2c_return"] for row in curve}) == 1
    lines = references(curve)
    assert list(lines[RETURN]) == ["A2C", "optimum", "random"]
    assert (lines[NORMALISED]["A2C"], lines[NORMALISED]["random"]) == (1, 0)
    assert lines[RETURN]["optimum"] >= lines[RETURN]["A2C"] and set(lines) <= set(PANELS)

    with pytest.raises(ValueError, match="already holds a run"):
        main(uninterrupted)
    with pytest.raises(ValueError, match="another configuration"):
        main(change(uninterrupted, score="pvl", run=change(uninterrupted.run, resume=True)))
