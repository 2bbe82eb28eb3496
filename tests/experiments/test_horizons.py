"""Meta-testing of rules at several lifetime lengths: groups, time inputs of rule files, and invalid folders."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.drift.config import DriftStudyConfig
from experiments.grid.build import build
from experiments.grid.horizons import HorizonsConfig, load, main
from experiments.grid.train import export
from lopt.evaluation import write_results
from lopt.objectives import A2C, FractionAndLogNumUpdates
from lopt.rules import card_of, save_rule
from lopt.training import Outcome, open_folder
from lopt.types import Progress
from tests.experiments.test_gridworld import TINY, change


def untrained(path, seed=0, time="none", finish=True):
    """The folder of a run of lpg whose rule is the initial one."""
    config = change(
        TINY, run=change(TINY.run, out=str(path), seed=seed), rule=change(TINY.rule, time=time), score="uniform"
    )
    folder, study = open_folder(config, f"python -m toy --seed {seed}"), build(config)
    export(config, study, folder, Outcome(SimpleNamespace(theta=study.rule.init(jax.random.key(seed))), 0, False))
    if finish:
        write_results(folder, {"seed": seed})
    folder.close()
    return str(path)


def test_runs_are_grouped_by_estimator_and_time_inputs(tmp_path, monkeypatch, capsys):
    runs = [untrained(tmp_path / f"{time}{seed}", seed, time) for time in ("none", "normalised") for seed in (0, 1)]
    options = ["--horizons", "1", "3", "--levels", "2", "--seeds", "1", "--out", str(tmp_path / "all")]
    monkeypatch.setattr(sys, "argv", ["horizons", *runs, *options])
    main()
    out = capsys.readouterr().out
    data = json.loads((tmp_path / "all" / "summary.json").read_text())
    assert data["horizons"] == [1, 3] and len(data["commands"]) == 4
    for kind in ("meta_gradient, time none", "meta_gradient, time normalised"):
        assert np.shape(data[kind]["scores"]) == (2, 2) and f"| {kind} | 2 |" in out
    assert max(data["meta_gradient, time none"]["time_sensitivity"]) < 1e-6  # rounding
    assert min(data["meta_gradient, time normalised"]["time_sensitivity"]) > 1e-3
    assert (tmp_path / "all" / "horizons.png").stat().st_size > 5000


def test_a_rule_keeps_the_reference_lifetime_of_its_file(tmp_path):
    """Older rule files have the reference 250, whatever the lifetimes of the study."""
    folder = untrained(tmp_path / "old", time="normalised")
    run = load(folder)
    assert run.rule.conditioning.reference == 4.0
    old = replace(run.rule, conditioning=FractionAndLogNumUpdates(reference=250.0))
    save_rule(tmp_path / "old" / "rule", run.theta, card_of(old))
    study = load(folder).study()
    assert study.lifetime.objective == study.rule == old
    feature = study.lifetime.objective.conditioning(Progress(np.int32(0), np.int32(100)))[1]
    np.testing.assert_allclose(feature, np.log(100 / 250), rtol=1e-5)


def test_invalid_folders_raise_a_message_with_the_folder(tmp_path):
    with pytest.raises(ValueError, match="nowhere holds no run of lpg or groove"):
        load(str(tmp_path / "nowhere"))
    open_folder(DriftStudyConfig(run=replace(DriftStudyConfig().run, out=str(tmp_path / "lpo"))), "toy").close()
    with pytest.raises(ValueError, match=r"lpo holds no run of lpg or groove \(.*no field"):
        load(str(tmp_path / "lpo"))
    with pytest.raises(ValueError, match="unfinished: the run is not finished"):
        load(untrained(tmp_path / "unfinished", finish=False))
    folder = untrained(tmp_path / "other")
    save_rule(tmp_path / "other" / "rule", {}, card_of(A2C()))
    with pytest.raises(ValueError, match=r"of another kind \(got lopt.objectives.A2C"):
        load(folder)


def test_without_runs_the_exit_code_is_two_and_the_usage_is_shown():
    with pytest.raises(ValueError, match=r"at least one run folder .*\nusage: python -m experiments.horizons RUN"):
        HorizonsConfig(())
    result = subprocess.run([sys.executable, "-m", "experiments.horizons"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "usage: python -m experiments.horizons RUN" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"horizons": ()}, "horizons must name at least one"),
        ({"horizons": (10, 0)}, r"horizons must be at least 1 \(got 0\)"),
        ({"levels": 0}, r"levels must be at least 1 \(got 0\)"),
        ({"seeds": -1}, "seeds must be at least 1"),
    ],
)
def test_numbers_out_of_range_raise_a_message_with_the_option(changes, message):
    with pytest.raises(ValueError, match=message):
        HorizonsConfig(("run",), **changes)
