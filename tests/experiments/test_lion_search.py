"""The search as a study: bad input, a stopped and resumed search, and a whole small run."""

import dataclasses
import json

import numpy as np
import pytest

from experiments.common.config import RunConfig
from experiments.learned_optimizer.names import TASKS
from experiments.lion_search import repeats, report
from experiments.lion_search.build import CONSTANTS, EVOLUTION, RANDOM, evaluator, proxy, searches
from experiments.lion_search.config import EvalConfig, ProxyConfig, SearchConfig, StudyConfig
from experiments.lion_search.measure import ADAMW, AS_FOUND, BEST, CHOSEN, SEARCHED, contenders
from experiments.lion_search.presets import PRESETS
from experiments.lion_search.train import Race, main
from lopt.export import load_program
from lopt.search import parse, published
from lopt.search.evolution import Individual

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    proxy=ProxyConfig(task="wine", steps=8, learners=1),
    search=SearchConfig(steps=2, batch=8, population=10, plateau=12),
    eval=EvalConfig(
        validation="wine", validation_steps=8, every=1, tasks=("iris",), lifetime=4, trials=4, tuning_seeds=2, seeds=2
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
def test_bad_input_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


def test_presets_build():
    for preset in PRESETS.values():
        assert set(searches(preset)) == {EVOLUTION, CONSTANTS, RANDOM}
        assert evaluator(preset).proxy.steps == preset.proxy.steps
    with pytest.raises(ValueError, match="a task without variations"):
        proxy(TASKS["quadratic"](), 3)


def test_every_contender_has_as_many_trials():
    one = Individual(parse(published.LION), 0.0)
    found = type("Found", (), {"best": one, "chosen": one, "simple": one.program})
    offered = contenders(found, 10, 8)
    assert ADAMW in offered and {trials.shape for _, trials in offered.values()} == {(8, 2)}


class Pretended:
    """Fitness by length, in the place of an evaluator."""

    def __call__(self, programs):
        return type("Evaluation", (), {"fitness": np.array([-float(len(p.statements)) for p in programs])})


def test_a_race_goes_on_bit_for_bit():
    races = [Race(TINY) for _ in range(3)]
    for race in races:
        race.evaluate = race.validate = Pretended()
    whole, first, second = races
    told = [whole.step(i) for i in range(4)]
    for i in range(2):
        first.step(i)
    second.restore(json.loads(json.dumps(first.plain(), allow_nan=False)))
    again = [second.step(i) for i in range(2, 4)]
    assert second.plain() == whole.plain()
    clockless = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in told[2:]]
    assert clockless == [{k: v for k, v in row.items() if not k.startswith("time/")} for row in again]


def test_baselines_may_have_a_multiple_of_the_budget():
    race = Race(dataclasses.replace(TINY, search=SearchConfig(steps=2, batch=8, multiple=3, population=10)))
    race.evaluate = race.validate = Pretended()
    for i in range(2):
        race.step(i)
    tried = {name: search.tried for name, search in race.searches.items()}
    assert 16 <= tried[EVOLUTION] <= 32 and 48 <= tried[RANDOM] <= 64


def finished(folder, seed, offset, steps=3):
    """The folder of a pretended run: evolution rises by 1 a step, and the baselines' budgets are twice as large."""
    folder.mkdir()
    rows = [
        {"step": i}
        | {f"{name}/tried": (10 if name == EVOLUTION else 20) * i + 10 for name in repeats.SEARCHES}
        | {f"{name}/best": offset + (i if name == EVOLUTION else 0.5 * i) for name in repeats.SEARCHES}
        | {f"{name}/validation": -np.inf if seed == 1 and name == CONSTANTS else offset for name in repeats.SEARCHES}
        | {f"{EVOLUTION}/{what}": 0.1 * i for what in repeats.STATISTICS}
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
    assert repeats.over_programs(runs, EVOLUTION, "best", np.array([5, 10, 29, 30])).tolist() == [
        [0, 0, 1, 2],
        [1, 1, 2, 3],
        [2, 2, 3, 4],
    ]
    assert repeats.estimate(np.array([1.0, 3.0])) == pytest.approx((2.0, 1.0))
    text, data = repeats.summary(runs)
    assert data[f"{CONSTANTS}, 30 programs"]["fitness"] == [0.5, 1.5, 2.5]
    assert data[f"{CONSTANTS}, 50 programs"]["fitness"] == [1.0, 2.0, 3.0]
    assert data[f"{CONSTANTS}, 50 programs"]["larger_task"] == [0.0, None, 2.0]
    assert data["log10_ratio_to_adamw"] == {"wine": {CHOSEN: [0.0, -1.0, -2.0]}}  # one run had no other best
    assert data["fitness_minus_adamw"] == {CHOSEN: [0.0, 2.0, 4.0]} and "| chosen | 2.000 ± 1.155 |" in text
    assert "1 lost, else 1.000 ± 1.000" in text and "1.000 ± 0.000" in text  # ahead by one, whatever the seed
    monkeypatch.setattr("sys.argv", ["repeats", *folders, "--out", str(tmp_path / "out")])
    repeats.main()
    assert "run 1" in (tmp_path / "out" / "summary.md").read_text()
    assert (tmp_path / "out" / "repeats.png").stat().st_size > 0


def test_repeats_name_what_does_not_belong_together(tmp_path):
    one = finished(tmp_path / "one", 0, 0.0)
    with pytest.raises(ValueError, match="at least two runs"):
        repeats.load([one])
    with pytest.raises(ValueError, match="seed 0 is there twice"):
        repeats.load([one, finished(tmp_path / "again", 0, 0.0)])
    with pytest.raises(ValueError, match="holds no finished search"):
        repeats.load([one, str(tmp_path)])


def test_what_was_found_is_compared_newborn_by_newborn():
    scores = {BEST: np.array([-np.inf, -0.1]), CHOSEN: np.array([-0.1, -0.3]), SEARCHED: np.array([-0.2, -0.4])}
    found = type("Found", (), {"unseen": scores})
    assert report.unseen_fitness(found) == pytest.approx({BEST: -np.inf, CHOSEN: -0.2, SEARCHED: -0.3})
    (who,) = report.unseen_advantage(found).items()
    assert who[0] == CHOSEN and [who[1].low, who[1].value, who[1].high] == pytest.approx([0.1, 0.1, 0.1])
    assert "| best on the proxy | lost | - |" in report.unseen(TINY, found)


def test_the_story_of_a_program():
    first = Individual(parse(published.ADAMW), -2.0)
    same = Individual(parse(published.ADAMW.replace("g2", "h2")), -2.0, first, 1)
    last = Individual(parse(published.LION), -1.0, same, 7)
    told = report.story(last)
    assert told.count("## Generation") == 2 and "Generation 2: fitness -1.0000 (program 7)" in told


@pytest.mark.slow  # the interpreter is compiled three times, and five optimizers twice
def test_a_whole_run(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    main(dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, out=str(tmp_path))))
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["held_out_loss"]) == {"wine", "iris"}
    assert AS_FOUND in results["held_out_loss"]["iris"] and ADAMW not in results["log10_ratio_to_adamw"]["iris"]
    assert set(results["search"]) == {EVOLUTION, CONSTANTS, RANDOM}
    assert SEARCHED in results["fitness_by_unseen_newborns"]
    assert parse((tmp_path / "best.txt").read_text()).statements
    assert load_program(tmp_path / "rule").text() == results["simplified"]
    for name in ("report.md", "lineage.md", "search.png", "validation.png", "table.png"):
        assert (tmp_path / name).stat().st_size > 0
