"""Aggregation over seeds: runs of every study, comparison of two configurations, and invalid folders."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from experiments.drift.config import DriftStudyConfig, PPOConfig
from experiments.grid.config import StudyConfig as GridConfig
from experiments.optimizer.config import StudyConfig as OptimizerConfig
from experiments.optimizer.rl import RLStudyConfig
from experiments.seeds import SeedsConfig, load, over_levels, summary
from lopt.evaluation import Interval, write_results
from lopt.training import RunConfig, open_folder


def interval(value):
    """An interval around the value."""
    return Interval(value, value - 1, value + 1)


def grid(x):
    return {
        "returns": {"trained rule": interval(x)},
        "a2c_normalised": {"trained rule": interval(x / 2)},
        "per_level": [x],
    }


def drifts(x):
    return {
        "returns": {"CartPole-v1": {"PPO": {"final": interval(x), "lifetime": interval(3.0)}}},
        "per_seed": {"PPO": [x]},
    }


def agent_optimizers(x):
    return {"returns": {"CartPole-v1": {"learned": {"final": interval(x)}}}, "tuned": {"CartPole-v1": {"rate": 0.1}}}


def agents(x):
    return {"returns": {"ppo": [x - 1, x + 1]}, "settings": {"num_envs": 4}}


def optimizers(x):
    return {
        "held_out_loss": {"digits": {"learned": interval(x)}},
        "log10_ratio_to_adam": {"digits": {"learned": interval(-x)}},
    }


STUDIES = {
    "gridworld": (GridConfig, grid, "| trained rule | 2 [1, 3] | 1 3 |"),
    "drift": (DriftStudyConfig, drifts, "| CartPole-v1, PPO, final | 2 [1, 3] | 1 3 |"),
    "ppo": (PPOConfig, agents, "| ppo | 2 [1, 3] | 1 3 |"),
    "learned_optimizer in RL": (RLStudyConfig, agent_optimizers, "| CartPole-v1, learned, final | 2 [1, 3] | 1 3 |"),
    "learned_optimizer": (OptimizerConfig, optimizers, "| digits, learned | 2 [1, 3] | 1 3 |"),
}


def finished(path, config, seed, results):
    """The folder of a finished run."""
    run = RunConfig(out=str(path), seed=seed)
    folder = open_folder(replace(config, run=run), f"python -m toy --seed {seed}")
    write_results(folder, {"seed": seed, **results})
    folder.close()
    return str(path)


@pytest.mark.parametrize("study", STUDIES)
def test_runs_of_every_study_can_be_summarised(study, tmp_path):
    kind, results, row = STUDIES[study]
    runs = tuple(finished(tmp_path / str(seed), kind(), seed, results(x)) for seed, x in ((1, 3.0), (0, 1.0)))
    text, data = summary(SeedsConfig(runs))
    assert row in text
    assert "python -m toy --seed 0\npython -m toy --seed 1\n" in text
    assert data["seeds"] == [0, 1]
    (measure, rows), *_ = [(name, data[name]) for name in ("returns", "held_out_loss") if name in data]
    assert next(iter(rows.values()))["per_seed"] == [1.0, 3.0]
    json.dumps(data, allow_nan=False)


def test_two_configurations_are_compared_by_differences_paired_by_seed(tmp_path):
    runs = tuple(finished(tmp_path / f"a{s}", GridConfig(), s, grid(x)) for s, x in ((0, 1.0), (1, 3.0)))
    other = GridConfig(score="pvl")
    others = tuple(finished(tmp_path / f"b{s}", other, s, grid(x)) for s, x in ((1, 2.0), (0, 0.5)))
    text, data = summary(SeedsConfig(runs, against=others))
    assert data["returns"]["trained rule"]["against"]["per_seed"] == [0.5, 2.0]
    assert "0.75 [0.5, 1]" in text
    with pytest.raises(ValueError, match=r"seeds must be the same \(got \[0, 2\], expected \[0, 1\]\)"):
        more = finished(tmp_path / "b2", other, 2, grid(1.0))
        summary(SeedsConfig(runs, against=(others[1], more)))


def levels(x, rule):
    """Results with returns on four levels: random 0, A2C 2 on each."""
    returns = {"trained rule": rule, "A2C": [2.0] * 4, "random": [0.0] * 4}
    return {**grid(x), "per_level": returns}


def test_intervals_over_seeds_and_levels_are_printed_where_results_have_levels(tmp_path):
    rules = {0: [1.0, 1.0, 1.0, 1.0], 1: [3.0, 3.0, 3.0, 3.0]}
    runs = tuple(finished(tmp_path / f"a{s}", GridConfig(), s, levels(1.0, rules[s])) for s in rules)
    other = GridConfig(score="pvl")
    others = tuple(finished(tmp_path / f"b{s}", other, s, levels(1.0, [0.0] * 4)) for s in rules)
    text, data = summary(SeedsConfig(runs, against=others))
    assert "| trained rule | 1 [0.5, 1.5] |  | 1 [0.5, 1.5] |" in text
    assert "| A2C | 1 [1, 1] | 0 [-0.5, 0.5] | 0 [0, 0] |" in text
    json.dumps(data, allow_nan=False)


def test_an_interval_over_seeds_and_levels_holds_the_variance_of_both():
    num_levels = 400
    noise = np.random.default_rng(0).normal(size=num_levels)
    low, high = np.zeros((2, num_levels)), np.ones((2, num_levels))
    same = over_levels({"rule": np.stack([noise, noise]), "random": low, "A2C": high}, {})["rule"]["score"]
    half = 1.96 * noise.std() / num_levels**0.5
    assert same.high - same.value == pytest.approx(half, rel=0.1)
    apart = over_levels({"rule": np.stack([noise, noise + 1]), "random": low, "A2C": high}, {})["rule"]["score"]
    assert apart.high - apart.value == pytest.approx(0.5 + half, rel=0.2)


def test_levels_without_a_common_scale_have_no_score(tmp_path):
    assert over_levels({"trained rule": np.ones((2, 3)), "random": np.zeros((2, 3))}, {}) == {}
    runs = tuple(finished(tmp_path / str(s), GridConfig(), s, grid(1.0)) for s in (0, 1))
    assert not load(runs).per_level


def test_non_finite_values_are_reported(tmp_path):
    runs = tuple(finished(tmp_path / str(s), GridConfig(), s, grid(x)) for s, x in ((0, 1.0), (1, float("nan"))))
    text, data = summary(SeedsConfig(runs))
    assert "not finite for 1 of 2 seeds" in text and "1 nan" in text
    json.dumps(data, allow_nan=False)


def test_invalid_folders_raise_a_message_with_the_folder(tmp_path):
    first = finished(tmp_path / "first", GridConfig(), 0, grid(1.0))
    with pytest.raises(ValueError, match="nowhere holds no finished run"):
        load((first, str(tmp_path / "nowhere")))
    unfinished = tmp_path / "unfinished"
    open_folder(GridConfig(run=RunConfig(out=str(unfinished), seed=1)), "toy").close()
    with pytest.raises(ValueError, match="unfinished holds no finished run"):
        load((first, str(unfinished)))
    with pytest.raises(ValueError, match="seed 0 is given twice"):
        load((first, finished(tmp_path / "again", GridConfig(), 0, grid(1.0))))
    with pytest.raises(ValueError, match=r"(?s)different configurations.*score: alg_regret in .*first, pvl in .*other"):
        load((first, finished(tmp_path / "other", GridConfig(score="pvl"), 1, grid(1.0))))
    with pytest.raises(ValueError, match=r"(?s)first and .*lpo are runs of different configurations"):
        load((first, finished(tmp_path / "lpo", DriftStudyConfig(), 1, drifts(1.0))))
    with pytest.raises(
        ValueError, match=r"odd: its results cannot be summarised.*holds seed, table; expected .*returns"
    ):
        load((finished(tmp_path / "odd", GridConfig(), 1, {"table": [1, 2]}), first))
    (tmp_path / "odd" / "results.json").write_text('{"returns": {"A2C": 1.0}}')
    with pytest.raises(ValueError, match="holds returns; expected seed"):
        load((str(tmp_path / "odd"), first))


@pytest.mark.parametrize("runs", [(), ("one",)])
def test_with_too_few_runs_the_exit_code_is_two_and_the_usage_is_shown(runs):
    with pytest.raises(ValueError, match=r"at least two run folders .*\nusage: python -m experiments.seeds RUN RUN"):
        SeedsConfig(runs)
    result = subprocess.run([sys.executable, "-m", "experiments.seeds", *runs], capture_output=True, text=True)
    assert result.returncode == 2
    assert "usage: python -m experiments.seeds RUN RUN" in result.stderr and "Traceback" not in result.stderr


def test_the_command_prints_and_writes_the_summary(tmp_path):
    runs = [finished(tmp_path / str(s), GridConfig(), s, grid(x)) for s, x in ((0, 1.0), (1, 3.0))]
    command = [sys.executable, "-m", "experiments.seeds", *runs, "--out", str(tmp_path / "all")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "| trained rule | 2 [1, 3] | 1 3 |" in result.stdout
    assert (tmp_path / "all" / "summary.md").read_text().startswith("# all\n")
    assert json.loads((tmp_path / "all" / "summary.json").read_text())["a2c_normalised"]
