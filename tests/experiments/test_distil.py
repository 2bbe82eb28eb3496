"""Distillation as a study: bad input, a stopped and resumed run, and whole small ones."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

import lopt
from experiments.common.config import RunConfig
from experiments.distil.build import searches, subject
from experiments.distil.choose import Candidate, choose, fittest, front, rounded
from experiments.distil.config import (
    PRESETS,
    ChoiceConfig,
    DistilConfig,
    DriftConfig,
    OptimizerConfig,
    SearchConfig,
)
from experiments.distil.formula import formula
from experiments.distil.train import Restarts, main
from experiments.ppo.config import PPOConfig
from experiments.ppo.train import drifts
from lopt.export import card_of, load_program, save_program, save_rule
from lopt.objectives import DPO, LPG, LPO, Clip
from lopt.optimizers import LearnableAdam
from lopt.search import ProgramDrift, canonical_hash, expression, parse, published, random_program

TINY = DistilConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    drift=DriftConfig(points=64),
    optimizer=OptimizerConfig(task="wine", steps=6, weights=8),
    search=SearchConfig(restarts=2, steps=2, batch=8, population=6),
    choice=ChoiceConfig(sweeps=2),
)


def saved(part, folder, key):
    """The path of the part's rule file."""
    save_rule(folder / "rule", part.init(key) or {}, card_of(part))
    return str(folder / "rule")


def of(rule, out="unset", **changes):
    """A tiny distillation of this rule."""
    return dataclasses.replace(TINY, rule=rule, run=dataclasses.replace(TINY.run, out=str(out)), **changes)


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
        ({"search": SearchConfig(tune=0.6, polish=0.4)}, "below 1 together"),
        ({"choice": ChoiceConfig(tolerance=-0.1)}, "choice.tolerance must be at least 0"),
    ],
)
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        DistilConfig(**changes)


def test_rules_of_other_kinds_are_named(tmp_path, key):
    with pytest.raises(ValueError, match="does not exist"):
        subject(of(str(tmp_path / "rule")))
    with pytest.raises(ValueError, match="LPG is used through an agent"):
        subject(of(saved(LPG(hidden=4), tmp_path, key)))
    with pytest.raises(ValueError, match="target must vary"):
        subject(of(saved(Clip(100.0), tmp_path, key))).goal(0.0)


def test_presets_build(tmp_path, key):
    rule = subject(of(saved(DPO(), tmp_path, key)))
    for preset in PRESETS.values():
        assert len(searches(preset, rule)) == preset.search.restarts


def test_formulas_are_read_back():
    rng = np.random.default_rng(0)
    some = [random_program(rng, 12, extras=("m", "x0")) for _ in range(20)]
    for program in (*some, parse(published.ADAMW), parse(published.LION), parse("def f(w, g, lr): return w * (g - w)")):
        assert canonical_hash(parse(formula(program))) == canonical_hash(program)
    text = "def drift(r, A, t):\n    x0 = r - 1.0\n    return max((x0 * x0) * A, 0.0)\n"
    assert formula(parse(text), "drift") == text


def test_points_are_evenly_spread(tmp_path, key):
    rule = subject(of(saved(DPO(), tmp_path, key), drift=DriftConfig(points=1024)))
    for which in (0, 1):
        ratios, advantages = rule.points(which)
        assert np.std(np.log(ratios)) == pytest.approx(0.3, abs=0.01) and np.std(advantages) == pytest.approx(
            1, abs=0.02
        )
        assert abs(np.corrcoef(np.log(ratios), advantages)[0, 1]) < 0.02
    assert not np.isin(rule.points(0)[0], rule.points(1)[0]).any()


def test_a_drift_that_knows_the_time_is_taken_at_one(tmp_path, key):
    rule = saved(ProgramDrift(parse("def drift(r, A, t): return square(r - 1.0) * (t + 1.0)")), tmp_path, key)
    early, late = (subject(of(rule, drift=DriftConfig(points=8, fraction=x))) for x in (0.0, 0.5))
    np.testing.assert_allclose(late.values(*late.points(0)), 1.5 * early.values(*early.points(0)), rtol=1e-5)
    settled = late.settled(parse("def drift(r, A, t): return r * t"))
    assert settled.statements[0].args == ("r", 1.0)


def test_a_formula_must_have_slopes(tmp_path, key):
    rule = subject(of(saved(DPO(), tmp_path, key)))
    assert rule.usable(parse("def drift(r, A, t): return square(r - 1.0)"))
    assert not rule.usable(parse("def drift(r, A, t): return sqrt(square(r - 1.0)) * 0.0"))
    good, bad = parse("def drift(r, A, t): return square(r - 1.0)"), parse("def drift(r, A, t): return sqrt(r - 1.0)")
    assert [one.program for one in front(rule, rule.goal(0.0), [good, bad])] == [good]
    with pytest.raises(ValueError, match="none of the programs"):
        front(rule, rule.goal(0.0), [bad])


def test_the_front_is_made_of_what_is_better_than_all_shorter(tmp_path, key):
    rule = subject(of(saved(Clip(), tmp_path, key)))
    goal, best = rule.goal(0.0), rule.initial
    worse = parse("def drift(r, A, t): return max((r - max(min(r, 1.1), 0.8)) * A, 0.0)")
    longer = parse("def drift(r, A, t): return max((r - max(min(r, 1.2), 0.8)) * A, 0.0) + r * 0.01")
    short = parse("def drift(r, A, t): return r * 0.0")
    assert fittest([worse, best, short], goal) == [best, short]
    assert front(rule, goal, [longer, worse, best, short]) == [Candidate(p, -goal(p)) for p in (short, best)]
    exact = parse("def drift(r, A, t): return max((r - max(min(r, 1.2000001), 0.80003)) * A, 0.0)")
    assert canonical_hash(rounded(exact, goal, 1e-3)) == canonical_hash(best)


def test_a_run_goes_on_bit_for_bit(tmp_path, key):
    config = of(saved(DPO(), tmp_path, key))
    whole, first, second = (Restarts(config, subject(config)) for _ in range(3))
    told = [whole.step(i) for i in range(4)]
    for i in range(2):
        first.step(i)
    second.restore(json.loads(json.dumps(first.plain(), allow_nan=False)))
    again = [second.step(i) for i in range(2, 4)]
    assert second.plain() == whole.plain()
    assert [row["best"] for row in told[2:]] == [row["best"] for row in again]


def test_a_whole_run_of_a_drift(tmp_path, key, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(of(saved(LPO(hidden=4, floor=Clip(), init_scale=0.5), tmp_path, key), tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    program = parse((tmp_path / "out" / "formula.txt").read_text())
    assert canonical_hash(program) == canonical_hash(parse(results["program"]))
    assert results["held_out"]["r_squared"] > 0.5  # it begins at PPO's
    for name in ("report.md", "formula.png", "front.png", "search.png"):
        assert (tmp_path / "out" / name).stat().st_size > 0
    ((name, drift, _),) = drifts(PPOConfig(drifts=(str(tmp_path / "out" / "rule"),)))
    r = jnp.linspace(0.5, 1.5, 7)
    value = lopt.load(tmp_path / "out" / "rule")(jnp.log(r), jnp.ones(7))
    np.testing.assert_allclose(value, expression(drift.program)(np.asarray(r), np.ones(7)), rtol=1e-4, atol=1e-5)
    assert name == "out"


@pytest.mark.slow  # two lives and as many formulas are compiled
def test_a_whole_run_of_an_optimizer(tmp_path, key, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(of(saved(LearnableAdam(1e-2), tmp_path, key), tmp_path / "out"))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert load_program(tmp_path / "out" / "rule").text() == results["program"]
    assert {"r_squared", "loss_rule", "loss_formula"} <= results["held_out"].keys()
    assert (tmp_path / "out" / "formula.png").stat().st_size > 0


def test_the_program_of_an_optimizer_is_known_again(tmp_path):
    """A program that is distilled, in the place of a learned rule, is its own closed form."""
    program = parse(published.LION)
    save_program(tmp_path / "rule", program)
    rule = subject(of(str(tmp_path / "rule")))
    told = rule.measures(program)
    assert told["r_squared"] == pytest.approx(1.0, abs=1e-4)
    assert told["loss_rule"] == pytest.approx(told["loss_formula"], rel=1e-4)  # compiled twice


@pytest.mark.slow
def test_the_closed_form_of_a_drift_is_found(tmp_path):
    """A clipping on one side alone, and as steep again, from PPO's."""
    goal = parse("def drift(r, A, t): return max((r - min(r, 1.3)) * (A + A), 0.0)")
    save_rule(tmp_path / "rule", {}, card_of(ProgramDrift(goal)))
    sizes = SearchConfig(restarts=2, steps=10, batch=64, population=50)
    config = of(str(tmp_path / "rule"), search=sizes, choice=ChoiceConfig(sweeps=20), drift=DriftConfig(points=128))
    rule = subject(config)
    restarts = Restarts(config, rule)
    for i in range(sizes.steps):
        restarts.step(i)
    chosen = choose(config, rule, restarts.searches).chosen.program
    told = rule.measures(chosen)
    assert told["r_squared"] > 0.99 and told["violation"] < 1e-3
