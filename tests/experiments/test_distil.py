"""The distil study: invalid configurations, resumption, selection, and complete small runs."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from experiments.drift.config import PPOConfig
from experiments.drift.ppo import drifts
from experiments.search.distil.build import load_target, searches
from experiments.search.distil.choose import Candidate, choose, fittest, front
from experiments.search.distil.config import (
    PRESETS,
    ChoiceConfig,
    DistilConfig,
    DriftConfig,
    OptimizerConfig,
    SearchConfig,
)
from experiments.search.distil.train import Restarts, main
from lopt.objectives import DPO, LPG, LPO, Clip
from lopt.optimizers import LearnableAdam
from lopt.rules import card_of, load_program, save_program, save_rule
from lopt.search import ProgramDrift, canonical_hash, expression, parse, published, round_constants
from lopt.training import RunConfig

TINY = DistilConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    drift=DriftConfig(points=64),
    optimizer=OptimizerConfig(task="wine", steps=6, weights=8),
    search=SearchConfig(restarts=2, steps=2, batch=8, population=6),
    choice=ChoiceConfig(sweeps=2),
)


def rule_file(part, folder, key):
    """The path of a rule file of `part` with its initial meta-parameters."""
    save_rule(folder / "rule", part.init(key) or {}, card_of(part))
    return str(folder / "rule")


def of(rule, out="unset", **changes):
    """A tiny configuration that distils the rule file `rule` into the folder `out`."""
    return dataclasses.replace(TINY, rule=rule, run=dataclasses.replace(TINY.run, out=str(out)), **changes)


def test_shipped_rules_are_given_by_their_names():
    drift = load_target(of("lpo-cartpole"))
    optimizer = load_target(of("adafactor-mlp-digits"))
    assert (type(drift).__name__, type(optimizer).__name__) == ("DriftTarget", "OptimizerTarget")
    (ppo, *_), (name, learned, theta) = drifts(PPOConfig(drifts=("ppo", "lpo-cartpole")))
    assert (ppo, name) == ("ppo", "lpo-cartpole")
    assert isinstance(learned, LPO) and theta


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": OptimizerConfig(task="digit")}, "did you mean digits"),
        ({"optimizer": OptimizerConfig(steps=1)}, "optimizer.steps must be at least 2"),
        ({"drift": DriftConfig(points=1)}, "drift.points must be at least 2"),
        ({"drift": DriftConfig(spread=0.0)}, "drift.spread must be positive"),
        ({"drift": DriftConfig(fraction=1.5)}, "drift.fraction must be between 0 and 1"),
        ({"drift": DriftConfig(weight=-1.0)}, "must not be negative"),
        ({"search": SearchConfig(restarts=0)}, "search.restarts must be at least 1"),
        ({"search": SearchConfig(constant_mutation=0.6, pattern_search=0.4)}, "their sum below 1"),
        ({"choice": ChoiceConfig(tolerance=-0.1)}, "choice.tolerance must be at least 0"),
    ],
)
def test_invalid_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        DistilConfig(**changes)


def test_rules_of_other_kinds_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match="does not exist"):
        load_target(of(str(tmp_path / "rule")))
    with pytest.raises(ValueError, match="of another kind .got lopt.objectives.LPG, expected a drift or an optimizer"):
        load_target(of(rule_file(LPG(hidden=4), tmp_path, key)))
    with pytest.raises(ValueError, match="target must vary"):
        load_target(of(rule_file(Clip(100.0), tmp_path, key))).fitness(0.0)


def test_presets_build(tmp_path, key):
    target = load_target(of(rule_file(DPO(), tmp_path, key)))
    for preset in PRESETS.values():
        assert len(searches(preset, target)) == preset.search.restarts


def test_points_are_evenly_spread(tmp_path, key):
    target = load_target(of(rule_file(DPO(), tmp_path, key), drift=DriftConfig(points=1024)))
    for split in (0, 1):
        ratios, advantages = target.points(split)
        assert np.std(np.log(ratios)) == pytest.approx(0.3, abs=0.01) and np.std(advantages) == pytest.approx(
            1, abs=0.02
        )
        assert abs(np.corrcoef(np.log(ratios), advantages)[0, 1]) < 0.02
    assert not np.isin(target.points(0)[0], target.points(1)[0]).any()


def test_a_time_aware_drift_is_evaluated_at_the_given_progress(tmp_path, key):
    rule = rule_file(ProgramDrift(parse("def drift(r, A, t): return square(r - 1.0) * (t + 1.0)")), tmp_path, key)
    initial, middle = (load_target(of(rule, drift=DriftConfig(points=8, fraction=x))) for x in (0.0, 0.5))
    np.testing.assert_allclose(middle.values(*middle.points(0)), 1.5 * initial.values(*initial.points(0)), rtol=1e-5)
    without_time = middle.without_time(parse("def drift(r, A, t): return r * t"))
    assert without_time.statements[0].args == ("r", 1.0)


def test_a_usable_formula_has_finite_gradients(tmp_path, key):
    target = load_target(of(rule_file(DPO(), tmp_path, key)))
    assert target.usable(parse("def drift(r, A, t): return square(r - 1.0)"))
    assert not target.usable(parse("def drift(r, A, t): return sqrt(square(r - 1.0)) * 0.0"))
    good, bad = parse("def drift(r, A, t): return square(r - 1.0)"), parse("def drift(r, A, t): return sqrt(r - 1.0)")
    assert [one.program for one in front(target, target.fitness(0.0), [good, bad])] == [good]
    with pytest.raises(ValueError, match="no program is a usable drift"):
        front(target, target.fitness(0.0), [bad])


def test_the_front_holds_programs_with_a_lower_cost_than_all_shorter_ones(tmp_path, key):
    target = load_target(of(rule_file(Clip(), tmp_path, key)))
    fitness, best = target.fitness(0.0), target.initial
    worse = parse("def drift(r, A, t): return max((r - max(min(r, 1.1), 0.8)) * A, 0.0)")
    longer = parse("def drift(r, A, t): return max((r - max(min(r, 1.2), 0.8)) * A, 0.0) + r * 0.01")
    short = parse("def drift(r, A, t): return r * 0.0")
    assert fittest([worse, best, short], fitness) == [best, short]
    assert front(target, fitness, [longer, worse, best, short]) == [Candidate(p, -fitness(p)) for p in (short, best)]
    exact = parse("def drift(r, A, t): return max((r - max(min(r, 1.2000001), 0.80003)) * A, 0.0)")
    assert canonical_hash(round_constants(exact, fitness, 1e-3)) == canonical_hash(best)


def test_a_resumed_run_continues_bit_for_bit(tmp_path, key):
    config = of(rule_file(DPO(), tmp_path, key))
    whole, first, second = (Restarts(config, load_target(config)) for _ in range(3))
    metrics = [whole.step(i) for i in range(4)]
    for i in range(2):
        first.step(i)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    resumed = [second.step(i) for i in range(2, 4)]
    assert second.state_dict() == whole.state_dict()
    assert [row["best"] for row in metrics[2:]] == [row["best"] for row in resumed]


def test_a_complete_run_with_a_drift(tmp_path, key, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(of(rule_file(LPO(hidden=4, base_drift=Clip(), init_scale=0.5), tmp_path, key), tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    program = parse((tmp_path / "out" / "formula.txt").read_text())
    assert canonical_hash(program) == canonical_hash(parse(results["program"]))
    assert results["held_out"]["r_squared"] > 0.5  # PPO's drift is the initial program
    for name in ("report.md", "formula.png", "front.png", "search.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    ((name, drift, _),) = drifts(PPOConfig(drifts=(str(tmp_path / "out" / "rule"),)))
    r = jnp.linspace(0.5, 1.5, 7)
    value = lopt.load(tmp_path / "out" / "rule")(jnp.log(r), jnp.ones(7))
    np.testing.assert_allclose(value, expression(drift.program)(np.asarray(r), np.ones(7)), rtol=1e-4, atol=1e-5)
    assert name == "out"


@pytest.mark.slow  # compiles two trajectories of the optimizer and two of formulas
def test_a_complete_run_with_an_optimizer(tmp_path, key, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(of(rule_file(LearnableAdam(learning_rate=1e-2), tmp_path, key), tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert load_program(tmp_path / "out" / "rule").text() == results["program"]
    assert {"r_squared", "loss_rule", "loss_formula"} <= results["held_out"].keys()
    assert (tmp_path / "out" / "formula.png").stat().st_size > 0


def test_a_program_is_its_own_closed_form(tmp_path):
    """Metrics of an optimizer's program against the same program as the target."""
    program = parse(published.LION)
    save_program(tmp_path / "rule", program)
    metrics = load_target(of(str(tmp_path / "rule"))).metrics(program)
    assert metrics["r_squared"] == pytest.approx(1.0, abs=1e-4)
    assert metrics["loss_rule"] == pytest.approx(metrics["loss_formula"], rel=1e-4)  # two compiled programs


@pytest.mark.slow
def test_the_closed_form_of_a_drift_is_found(tmp_path):
    """The target clips on one side only, with twice the slope of PPO's drift, which is the initial program."""
    closed_form = parse("def drift(r, A, t): return max((r - min(r, 1.3)) * (A + A), 0.0)")
    save_rule(tmp_path / "rule", {}, card_of(ProgramDrift(closed_form)))
    sizes = SearchConfig(restarts=2, steps=10, batch=64, population=50)
    config = of(str(tmp_path / "rule"), search=sizes, choice=ChoiceConfig(sweeps=20), drift=DriftConfig(points=128))
    target = load_target(config)
    restarts = Restarts(config, target)
    for i in range(sizes.steps):
        restarts.step(i)
    chosen = choose(config, target, restarts.states).chosen.program
    metrics = target.metrics(chosen)
    assert metrics["r_squared"] > 0.99 and metrics["violation"] < 1e-3
