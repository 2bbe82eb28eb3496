"""The GPICL experiment: invalid options, reference classifiers, small complete runs, and a sweep that is resumed."""

import dataclasses
import json

import numpy as np
import pytest

import lopt
from experiments.incontext.gpicl import measure, sweep
from experiments.incontext.gpicl.build import build
from experiments.incontext.gpicl.config import (
    PRESETS,
    EvalConfig,
    MetaConfig,
    ModelConfig,
    StudyConfig,
    SweepConfig,
    TasksConfig,
)
from experiments.incontext.gpicl.names import DATASETS, MODELS, dataset
from experiments.incontext.gpicl.train import main
from lopt.evaluation import last_quarter
from lopt.training import RunConfig

TINY = StudyConfig(
    run=RunConfig(out="unset", progress=False, checkpoint_minutes=0),
    tasks=TasksConfig(dataset="iris", length=4, features=3, slots=3),
    model=ModelConfig(width=4, layers=1, heads=1, expansion=1),
    meta=MetaConfig(num_steps=2, batch_size=2, warmup=1, steps_per_chunk=1),
    eval=EvalConfig(every=1, sequences=2, final_sequences=3, datasets=()),
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": TasksConfig(dataset="digit")}, "did you mean digits"),
        ({"tasks": TasksConfig(dataset="ixd:folder")}, "unknown kind of files 'ixd'; did you mean idx"),
        ({"tasks": TasksConfig(num_tasks=-1)}, "tasks.num-tasks must not be negative"),
        ({"tasks": TasksConfig(length=1)}, "tasks.length of at least 2"),
        ({"model": ModelConfig(name="transfomer")}, "did you mean transformer"),
        ({"meta": MetaConfig(num_steps=1001)}, "must be a multiple of the chunk"),
        ({"meta": MetaConfig(warmup=3000)}, "warmup must end before the run"),
        ({"meta": MetaConfig(batch_size=0)}, "meta.batch-size must be at least 1"),
        ({"eval": EvalConfig(every=7)}, "eval.every"),
        ({"eval": EvalConfig(datasets=("leters",))}, "did you mean letters"),
        ({"sweep": SweepConfig("tasks.num_tasks")}, "give an option, its values"),
    ],
)
def test_invalid_options_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slots": 9}, "10 classes need as many slots"),
        ({"dataset": "wine", "length": 50}, "sequences of 50 distinct examples"),
        ({"dataset": "npz:nowhere.npz"}, "nowhere.npz does not exist; lopt downloads nothing"),
        ({"dataset": "idx:nowhere"}, "does not exist; lopt downloads nothing"),
    ],
)
def test_unsuitable_data_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        build(StudyConfig(tasks=TasksConfig(**changes)))


def test_presets_and_names_build():
    for preset in PRESETS.values():
        tasks = dataclasses.replace(preset.tasks, dataset="digits")  # the files of the paper's preset are not bundled
        assert build(dataclasses.replace(preset, tasks=tasks)).tasks.length == preset.tasks.length
    for name in MODELS:
        build(dataclasses.replace(TINY, model=dataclasses.replace(TINY.model, name=name)))
    for name in DATASETS:
        assert dataset(name).outputs <= 10


def test_data_from_npz_files(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 255, (40, 5, 5), np.uint8), np.arange(40, dtype=np.int32) % 3
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    options = TasksConfig(dataset=f"npz:{tmp_path / 'data.npz'}", length=4, features=0)
    task = build(dataclasses.replace(TINY, tasks=options)).tasks
    assert task.features == 25 and task.data.outputs == 3


def test_plateau_ends_where_the_loss_on_seen_tasks_is_first_below_the_threshold():
    rows = [{"step": 0, "seen/loss": 2.3}, {"step": 1, "meta_loss": 0.0}, {"step": 2, "seen/loss": 2.08}]
    assert measure.plateau(rows, 10) is None
    assert measure.plateau([*rows, {"step": 4, "seen/loss": 2.07}, {"step": 6, "seen/loss": 2.2}], 10) == 4


@pytest.mark.parametrize(
    ("seen", "unseen", "name"),
    [
        ((0.9, 0.0), 0.0, "memorises tasks"),
        ((0.2, 0.4), 0.04, "identifies tasks"),
        ((0.1, 0.5), 0.5, "learns to learn"),
        ((0.1, 0.0), 0.0, "undecided"),
    ],
)
def test_phases(seen, unseen, name):
    assert measure.phase({"first": seen[0], "gain": seen[1]}, {"gain": unseen}) == name


def test_evaluation_uses_all_classes_and_unseen_tasks_are_not_from_a_pool():
    options = TasksConfig(dataset="iris", length=4, features=3, slots=3, num_tasks=2, unpermuted=0.5, min_classes=1)
    study = build(dataclasses.replace(TINY, tasks=options))
    assert (study.tasks.num_tasks, study.tasks.unpermuted, study.tasks.min_classes) == (2, 0.5, 1)
    assert (study.seen.num_tasks, study.seen.unpermuted, study.seen.min_classes) == (2, 0.0, None)
    assert (study.unseen.num_tasks, study.unseen.unpermuted, study.unseen.min_classes) == (None, 0.0, None)
    assert len(study.other("wine").data.train) == 178


def test_a_sweep_varies_one_option_and_the_seed():
    config = dataclasses.replace(TINY, sweep=SweepConfig("meta.batch-size", (2, 4), 2))
    configs = sweep.points(config)
    assert list(configs)[:2] == ["batch_size=2,seed=0", "batch_size=2,seed=1"]
    assert [(point.meta.batch_size, point.run.seed) for point in configs.values()] == [(2, 0), (2, 1), (4, 0), (4, 1)]
    assert not any(point.sweep.option for point in configs.values())
    for option, values, message in (
        ("tasks.num_task", (1,), "did you mean tasks.num_tasks"),
        ("tasks.num_tasks", (1.5,), "cannot be 1.5; expected int"),
        ("model.name", (1,), "expected str"),
    ):
        with pytest.raises(ValueError, match=message):
            sweep.points(dataclasses.replace(TINY, sweep=SweepConfig(option, values)))


@pytest.mark.slow  # compiles about ten programs
def test_complete_run_and_its_rule(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    config = dataclasses.replace(TINY, run=dataclasses.replace(TINY.run, out=str(tmp_path)))
    main(dataclasses.replace(config, eval=dataclasses.replace(TINY.eval, datasets=("breast_cancer",))))
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["curves"]) == {
        "seen tasks, training examples",
        "seen tasks, held-out examples",
        "unseen tasks",
        "unseen tasks of breast_cancer",
    }
    for curve in results["curves"].values():
        assert len(curve["accuracy"]) == len(curve["loss"]) == 4
    assert set(results["references"]["unseen tasks"]) == {*measure.REFERENCES}
    for name in ("report.md", "positions.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 0
    learner = lopt.load(tmp_path / "rule")
    assert learner.model == build(config).model
    assert learner.predict(np.ones((3, 7)), np.arange(3), np.ones(7)).shape == (1, 3)


@pytest.mark.slow
def test_stopped_sweep_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    run = dataclasses.replace(TINY.run, out=str(tmp_path))
    config = dataclasses.replace(TINY, run=run, sweep=SweepConfig("tasks.num_tasks", (1, 0), 1))
    stopped = dataclasses.replace(config, run=dataclasses.replace(run, max_minutes=1e-9))
    main(stopped)
    assert not (tmp_path / "report.md").exists()
    main(dataclasses.replace(config, run=dataclasses.replace(run, resume=True)))
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["values"] == [1, 0] and len(results["curves"]["unseen tasks"]) == 2
    assert (tmp_path / "transition.png").stat().st_size > 0
    first = tmp_path / "points" / "num_tasks=1,seed=0" / "results.json"
    before = first.stat().st_mtime_ns
    main(dataclasses.replace(config, run=dataclasses.replace(run, resume=True)))
    assert first.stat().st_mtime_ns == before


@pytest.mark.slow
def test_gain_on_unseen_tasks_after_training_on_many_tasks_but_not_on_few(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["test"])
    gains = {}
    for number in (8, 0):
        config = StudyConfig(
            run=RunConfig(out=str(tmp_path / str(number)), progress=False),
            tasks=TasksConfig(num_tasks=number),
            meta=MetaConfig(num_steps=2000),
            eval=EvalConfig(every=500, datasets=()),
        )
        main(config)
        results = json.loads((tmp_path / str(number) / "results.json").read_text())
        gains[number] = results["curves"]["unseen tasks"]["gain"]
    assert gains[8] < 0.05
    assert gains[0] > 0.25
    unseen, reference = results["curves"]["unseen tasks"], results["references"]["unseen tasks"]["class mean"]
    assert unseen["last_quarter"] > last_quarter(reference) - 0.12
