"""The lion_search study: invalid configurations, resumption, reports, and a complete small run."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from experiments.cli.tasks import TASKS
from experiments.search import repeats, report
from experiments.search.build import CONSTANTS, EVOLUTION, RANDOM, evaluator, searches
from experiments.search.config import PRESETS, EvalConfig, ProxyConfig, SearchConfig, StudyConfig
from experiments.search.measure import ADAMW, BEST, BEST_CONSTANTS, CHOSEN, UNTUNED, contenders
from experiments.search.train import SearchComparison, main
from lopt.rules import load_program
from lopt.search import parse, published
from lopt.search.evolution import Individual
from lopt.search.population import Proxy
from lopt.training import RunConfig

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    proxy=ProxyConfig(task="wine", steps=8, learners=1),
    search=SearchConfig(steps=2, batch=8, population=10, plateau=12),
    eval=EvalConfig(
        validation="wine",
        validation_steps=8,
        every=1,
        tasks=("iris",),
        num_updates=4,
        trials=4,
        tuning_seeds=2,
        seeds=2,
    ),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"proxy": ProxyConfig(task="digit")}, "did you mean digits"),
        ({"proxy": ProxyConfig(rung=1.0)}, "0 < rung < 1"),
        ({"proxy": ProxyConfig(steps=1)}, "a rung of at least one step"),
        ({"search": SearchConfig(steps=0)}, "search.steps must be at least 1"),
        ({"search": SearchConfig(multiple=0)}, "search.multiple must be at least 1"),
        ({"eval": EvalConfig(tasks=("wines",))}, "did you mean wine"),
        ({"eval": EvalConfig(tolerance=-0.1)}, "eval.tolerance must not be negative"),
        ({"eval": EvalConfig(trials=5)}, "eval.trials must be even"),
        ({"eval": EvalConfig(seeds=3)}, "multiple of eval.tuning-seeds"),
    ],
)
def test_invalid_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_presets_build():
    for preset in PRESETS.values():
        assert set(searches(preset)) == {EVOLUTION, CONSTANTS, RANDOM}
        assert evaluator(preset).proxy.steps == preset.proxy.steps
    with pytest.raises(ValueError, match="a task with a single instance"):
        Proxy.of_task(TASKS["quadratic"](), 3)


def test_all_optimizers_are_tuned_over_the_same_number_of_trials():
    one = Individual(parse(published.LION), 0.0)
    selection = SimpleNamespace(best=one, chosen=one, simplified=one.program)
    optimizers = contenders(selection, 10, 8)
    assert ADAMW in optimizers and {trials.shape for _, trials in optimizers.values()} == {(8, 2)}


def minus_length(programs):
    """A substitute for an evaluator: fitness is minus the number of statements."""
    return SimpleNamespace(fitness=np.array([-float(len(p.statements)) for p in programs]))


def without_times(rows):
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def test_a_resumed_comparison_continues_bit_for_bit():
    comparisons = [SearchComparison(TINY) for _ in range(3)]
    for comparison in comparisons:
        comparison.evaluate = comparison.validate = minus_length
    whole, first, second = comparisons
    metrics = [whole.step(i) for i in range(4)]
    for i in range(2):
        first.step(i)
    second.load_state_dict(json.loads(json.dumps(first.state_dict(), allow_nan=False)))
    resumed = [second.step(i) for i in range(2, 4)]
    assert second.state_dict() == whole.state_dict()
    assert without_times(metrics[2:]) == without_times(resumed)


def test_the_baselines_budget_is_a_multiple_of_evolutions():
    config = dataclasses.replace(TINY, search=SearchConfig(steps=2, batch=8, multiple=3, population=10))
    comparison = SearchComparison(config)
    comparison.evaluate = comparison.validate = minus_length
    for i in range(2):
        comparison.step(i)
    evaluated = {name: state.evaluated for name, state in comparison.states.items()}
    assert 16 <= evaluated[EVOLUTION] <= 32 and 48 <= evaluated[RANDOM] <= 64


def finished(folder, seed, offset, steps=3):
    """The folder of a synthetic run: evolution improves by 1 per step, and the baselines' budget is twice as large."""
    folder.mkdir()
    rows = [
        {"step": i}
        | {f"{name}/evaluated": (10 if name == EVOLUTION else 20) * i + 10 for name in repeats.SEARCHES}
        | {f"{name}/best": offset + (i if name == EVOLUTION else 0.5 * i) for name in repeats.SEARCHES}
        | {f"{name}/validation": -np.inf if seed == 1 and name == CONSTANTS else offset for name in repeats.SEARCHES}
        | {f"{EVOLUTION}/{metric}": 0.1 * i for metric in report.STATISTICS}
        for i in range(steps)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ratios = {"wine": {CHOSEN: {"value": -offset}} | ({BEST: {"value": 1.0}} if seed else {})}
    results = {"seed": seed, "log10_ratio_to_adamw": ratios, "fitness_minus_adamw": {CHOSEN: {"value": 2 * offset}}}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "config.json").write_text(json.dumps({"config": {"seed": seed, "search": {}}, "command": f"run {seed}"}))
    return str(folder)


def test_repeats_compare_at_equal_and_at_multiple_budgets(tmp_path, monkeypatch):
    folders = [finished(tmp_path / str(seed), seed, offset=float(seed)) for seed in (0, 1, 2)]
    runs = repeats.load(folders)
    assert repeats.metric_at(runs, EVOLUTION, "best", np.array([5, 10, 29, 30])).tolist() == [
        [0, 0, 1, 2],
        [1, 1, 2, 3],
        [2, 2, 3, 4],
    ]
    assert repeats.with_interval(np.array([1.0, 3.0]), 2) == "2.00 [-10.71, 14.71]"
    text, data = repeats.summary(runs)
    assert data[f"{CONSTANTS}, 30 programs"]["fitness"] == [0.5, 1.5, 2.5]
    assert data[f"{CONSTANTS}, 50 programs"]["fitness"] == [1.0, 2.0, 3.0]
    assert data[f"{CONSTANTS}, 50 programs"]["validation"] == [0.0, None, 2.0]
    assert data["log10_ratio_to_adamw"] == {"wine": {CHOSEN: [0.0, -1.0, -2.0]}}  # one run has no row BEST
    assert data["fitness_minus_adamw"] == {CHOSEN: [0.0, 2.0, 4.0]} and "| chosen | 2.000 [-2.968, 6.968] |" in text
    assert (
        "1 diverged, else 1.000 [-11.706, 13.706]" in text and "1.000 [1.000, 1.000]" in text
    )  # the difference is 1 for each seed
    monkeypatch.setattr("sys.argv", ["repeats", *folders, "--out", str(tmp_path / "out")])
    repeats.main()
    assert "run 1" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "repeats.png").stat().st_size > 0


def test_repeats_refuse_runs_that_cannot_be_compared(tmp_path):
    one = finished(tmp_path / "one", 0, 0.0)
    with pytest.raises(ValueError, match="at least two runs"):
        repeats.load([one])
    with pytest.raises(ValueError, match="seed 0 is given twice"):
        repeats.load([one, finished(tmp_path / "again", 0, 0.0)])
    with pytest.raises(ValueError, match="holds no finished run"):
        repeats.load([one, str(tmp_path)])


def test_programs_are_compared_with_adamw_on_paired_seeds():
    scores = {BEST: np.array([-np.inf, -0.1]), CHOSEN: np.array([-0.1, -0.3]), BEST_CONSTANTS: np.array([-0.2, -0.4])}
    selection = SimpleNamespace(test_scores=scores)
    assert report.mean_test_fitness(selection) == pytest.approx({BEST: -np.inf, CHOSEN: -0.2, BEST_CONSTANTS: -0.3})
    ((name, interval),) = report.fitness_minus_adamw(selection).items()
    assert name == CHOSEN and [interval.low, interval.value, interval.high] == pytest.approx([0.1, 0.1, 0.1])
    assert "| best on the proxy | diverged | - |" in report.proxy_section(TINY, selection)


def test_the_lineage_omits_equivalent_programs():
    first = Individual(parse(published.ADAMW), -2.0)
    same = Individual(parse(published.ADAMW.replace("g2", "h2")), -2.0, first, 1)
    last = Individual(parse(published.LION), -1.0, same, 7)
    text = report.lineage_text(last)
    assert text.count("## Generation") == 2 and "Generation 2: fitness -1.0000 (program 7)" in text


@pytest.mark.slow  # compiles the interpreter three times and five optimizers twice
def test_a_complete_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, out=str(tmp_path))))
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["held_out_loss"]) == {"wine", "iris"}
    assert UNTUNED in results["held_out_loss"]["iris"] and ADAMW not in results["log10_ratio_to_adamw"]["iris"]
    assert set(results["search"]) == {EVOLUTION, CONSTANTS, RANDOM}
    assert BEST_CONSTANTS in results["test_seed_fitness"]
    assert parse((tmp_path / "best.txt").read_text()).statements
    assert load_program(tmp_path / "rule").text() == results["simplified"]
    for name in ("report.md", "lineage.md", "search.png", "validation.png", "table.png"):
        assert (tmp_path / name).stat().st_size > 0
