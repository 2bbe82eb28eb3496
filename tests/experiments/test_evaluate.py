"""python -m experiments.evaluate: cells, resuming, statistics, suites, and what they refuse."""

import json
from dataclasses import replace

import numpy as np
import pytest

import lopt
from experiments.cli.command_line import parse
from experiments.suites import run
from experiments.suites.candidates import candidates
from experiments.suites.cells import cell_file, run_cells
from experiments.suites.config import PRESETS, EvaluateConfig
from experiments.suites.report import normalise, summarise
from experiments.suites.suite import Scores, between
from lopt.rules import card_of, save_program, save_rule
from lopt.search import parse as parse_program
from lopt.training import RunConfig, open_folder

REQUIRED = ("random", "a2c")


class FakeSuite:
    """Scores from a generator: rule `a2c` is 1 above `random`, `better` half above `a2c`."""

    tasks, kinds, required = ("first", "second"), ("objective",), REQUIRED
    baselines = {"random": 0.0, "a2c": 1.0, "better": 1.5, "nan": np.nan}
    measure, scale = "return", "random = 0, a2c = 1"

    def __init__(self, fail=None):
        self.calls, self.fail = [], fail

    def scores(self, candidate, task):
        if len(self.calls) == self.fail:
            raise KeyboardInterrupt
        self.calls.append((candidate.name, task))
        noise = np.random.default_rng(len(task)).normal(0, 0.1, (3, 20))
        return Scores(candidate.value + noise, {"learning_rate": 0.1, "at_edge": False} if candidate.value else {})

    def check(self, candidate):
        pass

    def normalised(self, values, required):
        return between(values, required["random"], required["a2c"])


def config(tmp_path, **changes):
    return EvaluateConfig(run=RunConfig(out=str(tmp_path / "out"), progress=False, cache=False), **changes)


@pytest.fixture
def suite(monkeypatch):
    fake = FakeSuite()
    monkeypatch.setattr(EvaluateConfig, "build", lambda self: fake)
    return fake


def test_an_evaluation_writes_scores_summary_report_and_picture(tmp_path, suite):
    run.main(config(tmp_path, rules=("better",)))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results) == {"seed", "suite", "rows", "summary"}
    assert len(results["rows"]) == 3 * 2 * 3 * 20  # rules, tasks, seeds, levels
    assert set(results["rows"][0]) == {"rule", "task", "level", "seed", "score", "normalised"}
    by_rule = {(entry["rule"], entry["task"]): entry for entry in results["summary"]}
    assert len(by_rule) == 3 * 3
    better = by_rule["better", "all tasks"]
    # all rules have the same noise, so that paired differences are exact
    for estimate, value in ((better["normalised"], 1.5), (better["minus_reference"], 0.5)):
        assert estimate["value"] == pytest.approx(value, abs=0.05)
    assert better["minus_reference"]["high"] - better["minus_reference"]["low"] < 1e-9
    assert better["normalised"]["low"] < better["iqm"]["value"] < better["normalised"]["high"]
    assert by_rule["random", "first"]["normalised"]["value"] == pytest.approx(0, abs=1e-9)
    assert by_rule["a2c", "first"]["normalised"]["value"] == pytest.approx(1)
    assert "minus_reference" not in by_rule["a2c", "first"]
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| first | better | 1." in report and "3 seeds x 20 levels" in report and "table.png" in report
    assert (tmp_path / "out" / "table.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_stopped_evaluation_goes_on_with_the_missing_cells(tmp_path, monkeypatch, capsys):
    first, second = FakeSuite(fail=3), FakeSuite()
    wanted = config(tmp_path, rules=("better",))
    monkeypatch.setattr(EvaluateConfig, "build", lambda self: first)
    with pytest.raises(KeyboardInterrupt):
        run.main(wanted)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 3
    monkeypatch.setattr(EvaluateConfig, "build", lambda self: second)
    with pytest.raises(ValueError, match="already holds a run; resume it"):
        run.main(wanted)
    run.main(replace(wanted, run=replace(wanted.run, resume=True)))
    assert len(second.calls) == 3 and not set(first.calls) & set(second.calls)
    whole = FakeSuite()
    monkeypatch.setattr(EvaluateConfig, "build", lambda self: whole)
    other = replace(wanted, run=replace(wanted.run, out=str(tmp_path / "whole")))
    run.main(other)
    scores = [json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("out", "whole")]
    assert scores[0] == scores[1]


def test_a_time_limit_stops_between_cells_and_says_how_to_go_on(tmp_path, suite, capsys):
    wanted = config(tmp_path, rules=("better",))
    outcome = run.main(replace(wanted, run=replace(wanted.run, max_minutes=1e-9)))
    assert "1 of 6 cells are done" in capsys.readouterr().out and len(suite.calls) == 1
    assert (outcome.stopped, outcome.step, outcome.num_steps) == (True, 1, 6)
    assert not (tmp_path / "out" / "report.md").exists()


def test_damaged_cells_and_those_of_another_rule_file_are_computed_again(tmp_path, suite):
    wanted = config(tmp_path)
    rows = candidates("grid", ("random", "a2c"), suite.baselines, suite.kinds)
    folder = open_folder(wanted, "command", checkpointed=False)
    run_cells(suite, rows, folder, None, False)
    paths = [folder.file(cell_file(name, "first")) for name in rows]
    paths[0].write_text(paths[0].read_text()[:50])
    record = json.loads(paths[1].read_text())
    paths[1].write_text(json.dumps(record | {"checksum": "another"}))
    suite.calls.clear()
    run_cells(suite, rows, folder, None, False)
    assert suite.calls == [("random", "first"), ("a2c", "first")]
    folder.close()


def test_names_of_cells_are_different_files():
    pairs = [("a", "b/c"), ("a", "b_c"), ("a/b", "c"), ("a_b", "c"), ("a", "brax/ant")]
    assert len({cell_file(*pair) for pair in pairs}) == len(pairs)


def test_scores_that_are_not_finite_stop_the_run(tmp_path, suite):
    with pytest.raises(FloatingPointError, match="nan on first: 60 of 60 scores are not finite"):
        run.main(config(tmp_path, rules=("nan",)))


def test_a_task_on_which_the_reference_is_not_above_random_has_no_scale(tmp_path, suite):
    suite.baselines = {"random": 0.0, "a2c": 0.0}
    run.main(config(tmp_path, rules=("a2c",)))
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert all(row["normalised"] is None for row in results["rows"])
    assert all("normalised" not in entry for entry in results["summary"])
    assert "No normalised scores on first, second" in (tmp_path / "out" / "report.md").read_text()


def test_the_statistics_are_those_of_a_direct_computation(suite, tmp_path):
    rows = candidates("grid", (*REQUIRED, "better"), suite.baselines, suite.kinds)
    folder = open_folder(config(tmp_path), "command", checkpointed=False)
    cells, stopped = run_cells(suite, rows, folder, None, False)
    folder.close()
    assert stopped is None
    normalised = normalise(suite, cells)
    low, high = (cells[name]["first"].scores.mean() for name in REQUIRED)
    np.testing.assert_allclose(normalised["better"]["first"], (cells["better"]["first"].scores - low) / (high - low))
    entry = next(e for e in summarise(suite, cells, normalised) if (e["rule"], e["task"]) == ("better", "all tasks"))
    both = np.stack([normalised["better"][task] for task in suite.tasks], -1)
    assert entry["normalised"].value == pytest.approx(both.mean())
    cut = np.sort(both, None)[both.size // 4 : -(both.size // 4)]
    assert entry["iqm"].value == pytest.approx(cut.mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"suite": "grids"}, "unknown suite 'grids'.*did you mean grid"),
        ({"levels": 0}, "levels must be at least 1"),
        ({"rates": 1}, "rates must be at least 2"),
        ({"smallest_rate": 1.0}, "expected 0 < smallest-rate < largest-rate"),
        ({"tasks": ("all", "all")}, "every task once"),
    ],
)
def test_options_out_of_range_are_errors(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ("al",)}, "unknown task of suite grid 'al'"),
        ({"suite": "control", "tasks": ("CartPol",)}, "unknown environment 'CartPol'.*CartPole"),
        ({"suite": "supervised", "tasks": ("digit",)}, "unknown task 'digit'.*digits"),
        ({"rules": ("a3c",)}, "unknown rule or baseline of suite grid 'a3c'.*a2c"),
        ({"rules": ("lpo-cartpole",)}, "rules of the kind objective .got lpo-cartpole, of the kind drift"),
        ({"rules": ("runs/none/rule",)}, "runs/none/rule.json does not exist"),
        ({"rules": ("a2c", "a2c")}, "two rules are named 'a2c'"),
        ({"suite": "control", "tasks": ("Pendulum-v1",), "rules": ("a2c",)}, "a2c trains agents with discrete actions"),
        ({"suite": "supervised", "rules": ("lpg-grid-a2c",)}, "optimizer or program .got lpg-grid-a2c"),
    ],
)
def test_unknown_tasks_and_rules_are_errors_before_anything_runs(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run.main(config(tmp_path, **changes))
    assert not (tmp_path / "out").exists()


def test_a_suite_whose_extra_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "brax", None)
    with pytest.raises(ImportError, match=r"brax"):
        run.main(config(tmp_path, suite="brax"))
    assert not (tmp_path / "out").exists()


def test_a_rule_of_a_run_is_named_by_its_folder(tmp_path):
    save_rule(tmp_path / "mine" / "rule", {}, card_of(lopt.A2C()))
    save_rule(tmp_path / "other", {}, card_of(lopt.A2C(gamma=0.9)))
    names = (str(tmp_path / "mine" / "rule"), str(tmp_path / "other.npz"), "lpg-grid-a2c")
    assert [*candidates("grid", names, {}, ("objective",))] == ["mine", "other", "lpg-grid-a2c"]
    with pytest.raises(ValueError, match="mine/rule would be named like the baseline mine"):
        candidates("grid", names[:1], {"mine": None}, ("objective",))


def test_the_command_line_is_that_of_the_documentation():
    words = "--rules a b path/c --suite control --levels 3 --seeds 4 --run.seed 5".replace("run.", "").split()
    parsed = parse(EvaluateConfig, PRESETS, words)
    assert (parsed.rules, parsed.suite, parsed.levels, parsed.seeds, parsed.run.seed) == (
        ("a", "b", "path/c"),
        "control",
        3,
        4,
        5,
    )


@pytest.mark.slow
def test_objectives_on_grid_worlds(tmp_path):
    wanted = config(tmp_path, rules=("lpg-grid-a2c",), levels=8, seeds=2, num_updates=3, episodes=2)
    cell = {}
    grid = wanted.build()
    rows = candidates("grid", ("lpg-grid-a2c", "random", "a2c", "a2c_raw"), grid.baselines, grid.kinds)
    for name, row in rows.items():
        cell[name] = grid.scores(row, "all").values
        assert cell[name].shape == (2, 8) and np.isfinite(cell[name]).all()
    assert (cell["random"][0] != cell["random"][1]).any()
    np.testing.assert_array_equal(wanted.build().scores(rows["random"], "all").values, cell["random"])


@pytest.mark.slow
def test_optimizers_on_supervised_tasks_and_their_tuning(tmp_path):
    save_program(tmp_path / "descent", parse_program("def train(w, g, lr): return g * lr"))
    wanted = config(tmp_path, suite="supervised", tasks=("wine",), seeds=2, num_updates=20, rates=2, tuning_seeds=2)
    suite = wanted.build()
    names = ("adafactor-mlp-digits", str(tmp_path / "descent"), "adam")
    rows = candidates("supervised", names, suite.baselines, suite.kinds)
    scores = {name: suite.scores(row, "wine") for name, row in rows.items()}
    assert not scores["adafactor-mlp-digits"].tuned
    assert scores["descent"].tuned["learning_rate"] in (pytest.approx(0.1), pytest.approx(10.0))
    assert scores["adam"].tuned == {"learning_rate": pytest.approx(0.1), "at_edge": True}
    values = {name: score.values for name, score in scores.items()}
    assert all(x.shape == (2, 1) and (x > 0).all() for x in values.values())
    ratio = np.log10(values["descent"] / values["adam"])
    np.testing.assert_allclose(suite.normalised(values["descent"], {"adam": values["adam"]}), ratio, rtol=1e-5)


@pytest.mark.slow
def test_learners_in_context(tmp_path):
    suite = config(tmp_path, suite="incontext", tasks=("wine",), levels=64).build()
    rows = candidates("incontext", ("gpicl-digits", *suite.baselines), suite.baselines, suite.kinds)
    values = {name: suite.scores(row, "wine").values for name, row in rows.items()}
    assert all(x.shape == (1, 64) for x in values.values())
    means = {name: x.mean() for name, x in values.items()}
    # on record for 1,024 sequences at the last position: 0.91, 0.92 and 0.95
    assert means["label_frequency"] + 0.3 < means["gpicl-digits"] < means["logistic_regression"] + 0.05
    short = replace(rows["gpicl-digits"], value=replace(rows["gpicl-digits"].value, length=16))
    with pytest.raises(ValueError, match="sequences of 32 examples .the rule: 32, 10, 16"):
        suite.check(short)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "a2c", "lion", "dpo", "ta-lpo-cartpole", "lpg-grid-a2c", "lion-search-digits"])
def test_agents_in_control(tmp_path, name):
    inner = replace(EvaluateConfig().inner, total_steps=1024)
    wanted = config(
        tmp_path, suite="control", tasks=("CartPole-v1",), seeds=2, episodes=2, rates=2, tuning_seeds=2, inner=inner
    )
    suite = wanted.build()
    row = candidates("control", (name,), suite.baselines, suite.kinds)[name]
    scores = suite.scores(row, "CartPole-v1")
    assert scores.values.shape == (2, 1) and (scores.values >= 8).all()
    assert scores.tuned["at_edge"]  # there are two rates


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "random", "open-cartpole"])
def test_agents_with_real_actions(tmp_path, name):
    inner = replace(EvaluateConfig().inner, total_steps=1024)
    wanted = config(tmp_path, suite="control", tasks=("Pendulum-v1",), seeds=2, episodes=2, rates=2, inner=inner)
    suite = wanted.build()
    row = candidates("control", (name,), suite.baselines, suite.kinds)[name]
    assert (suite.scores(row, "Pendulum-v1").values < 0).all()
