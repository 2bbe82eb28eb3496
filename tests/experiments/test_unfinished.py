"""Files of a stopped run of every study: the current rule, learning curves, and an unfinished report."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.drift import ppo
from experiments.drift import train as drift
from experiments.drift.config import PPOConfig
from experiments.incontext.gpicl import train as gpicl
from experiments.incontext.mesa import train as mesa
from experiments.incontext.uncertainty import train as icl
from experiments.optimizer import normalised, rl
from experiments.optimizer import train as learned_optimizer
from experiments.search import train as lion_search
from experiments.search.distil import train as distil
from lopt.objectives import DPO
from lopt.rules import card_of, load_program, load_rule, save_rule
from lopt.training import Outcome
from tests.experiments import (
    test_distil,
    test_drift,
    test_gpicl,
    test_icl_uncertainty,
    test_learned_optimizer,
    test_learned_optimizer_rl,
    test_lion_search,
    test_mesa,
    test_normalised,
)

AGENTS = PPOConfig(run=test_drift.TINY.run, seeds=2, inner=test_drift.INNER, episodes=2)
STUDIES = {
    "learned_optimizer": (learned_optimizer, test_learned_optimizer.TINY, ("rule",), "curves.png"),
    "learned_optimizer in RL": (rl.train, test_learned_optimizer_rl.TINY, ("rule",), "curves.png"),
    "learned_optimizer, normalised": (normalised.train, test_normalised.TINY, ("rule",), "curves.png"),
    "drift": (drift, test_drift.TINY, ("rule",), "curves.png"),
    "ppo": (ppo, AGENTS, (), "curves.png"),
    "gpicl": (gpicl, test_gpicl.TINY, ("rule",), "curves.png"),
    "icl_uncertainty": (icl, test_icl_uncertainty.TINY, ("rule",), "curves.png"),
    "icl_uncertainty, two pools": (icl, test_icl_uncertainty.POOLED, ("rule-pool-of-2",), "curves.png"),
    "mesa": (mesa, test_mesa.TINY, (), "training.png"),
}


def with_folder(config, path):
    """The configuration with another output folder."""
    return dataclasses.replace(config, run=dataclasses.replace(config.run, out=str(path)))


def stopped_run(config, folder, *, init, step, num_steps, unit="step", **_):
    """Replaces `run`: returns the initial state, and logs made-up metrics of two steps."""
    key = jax.random.key(0)
    state = jax.jit(init)(key)
    names = jax.eval_shape(step, key, state)[1]
    rows = [{"step": i, **{name: 1.0 / i for name in names}} for i in (1, 2)]
    folder.file("metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Outcome(state, 2, True, "SIGINT was received", num_steps, unit)


def stopped_search(config, folder, state, step, num_steps, headline=(), unit="step"):
    """Replaces `run_on_host`: makes one step."""
    row = {name: value for name, value in step(0).items() if np.isfinite(value)}
    folder.file("metrics.jsonl").write_text(json.dumps({"step": 1, **row}) + "\n")
    return Outcome(state, 1, True, "SIGINT was received", num_steps, unit)


def check_files(path, picture, out):
    """Check the files of a stopped run and the output on the terminal."""
    report = (path / "report.md").read_text()
    assert "The run is not finished" in report and "SIGINT was received" in report
    assert f"]({picture})" in report and (path / picture).stat().st_size > 3000
    assert out.rstrip().endswith("--resume") and out.strip().splitlines()[-1].strip() in report
    assert not (path / "results.json").exists()


@pytest.mark.parametrize("name", STUDIES)
def test_a_stopped_run_writes_rule_curves_and_report(name, tmp_path, monkeypatch, capsys):
    study, config, rules, picture = STUDIES[name]
    monkeypatch.setattr("experiments.cli.study.run", stopped_run)
    monkeypatch.setattr(study, "run", stopped_run, raising=False)
    monkeypatch.setattr("sys.argv", ["test", "--max-minutes", "2"])
    study.main(with_folder(config, tmp_path))
    check_files(tmp_path, picture, capsys.readouterr().out)
    assert "--max-minutes" not in (tmp_path / "report.md").read_text().partition("To go on")[2]
    for rule in rules:
        notes = load_rule(tmp_path / rule).card.notes
        assert " 2 of " in notes and "not finished" in notes


def test_a_stopped_search_for_an_optimizer_writes_its_best_program(tmp_path, monkeypatch, capsys):
    def scores(programs):
        return SimpleNamespace(fitness=np.linspace(0.0, 1.0, len(programs)))

    def search(config, folder, state, *rest):
        state.evaluate = state.validate = scores
        return stopped_search(config, folder, state, *rest)

    monkeypatch.setattr(lion_search, "run_on_host", search)
    monkeypatch.setattr("sys.argv", ["test"])
    lion_search.main(with_folder(test_lion_search.TINY, tmp_path))
    check_files(tmp_path, "search.png", capsys.readouterr().out)
    assert load_program(tmp_path / "rule").statements
    assert "stopped at step 1 of 2, not finished" in load_rule(tmp_path / "rule").card.notes


def test_a_stopped_distillation_writes_its_best_program(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(distil, "run_on_host", stopped_search)
    monkeypatch.setattr("sys.argv", ["test"])
    save_rule(tmp_path / "dpo", (), card_of(DPO()))
    distil.main(test_distil.of(str(tmp_path / "dpo"), tmp_path / "out"))
    check_files(tmp_path / "out", "search.png", capsys.readouterr().out)
    assert load_rule(tmp_path / "out" / "rule").card.kind == "lopt.search.ProgramDrift"
    assert "stopped at step 1 of 2, not finished" in load_rule(tmp_path / "out" / "rule").card.notes


@pytest.mark.parametrize("study", [lion_search, distil])
def test_a_search_stopped_before_its_first_step_writes_no_rule(study, tmp_path, monkeypatch):
    def stopped_at_once(config, folder, state, step, num_steps, headline=()):
        folder.file("metrics.jsonl").write_text("")
        return Outcome(state, 0, True, "the time limit was reached", num_steps)

    monkeypatch.setattr(study, "run_on_host", stopped_at_once)
    monkeypatch.setattr("sys.argv", ["test"])
    save_rule(tmp_path / "dpo", (), card_of(DPO()))
    config = test_distil.of(str(tmp_path / "dpo")) if study is distil else test_lion_search.TINY
    study.main(with_folder(config, tmp_path / "out"))
    assert "stopped at step 0 of 2" in (tmp_path / "out" / "report.md").read_text()
    assert not (tmp_path / "out" / "rule.npz").exists()
