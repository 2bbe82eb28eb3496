"""The identity of a run, and the run controls."""

import dataclasses
from dataclasses import dataclass

import pytest

from lopt.training.folder import write_json, write_text
from lopt.training.run_config import RunConfig, differences, fingerprint, from_json, identity, run_config, to_json
from tests.training.toy import Task, ToyConfig


def test_run_controls_do_not_change_the_fingerprint():
    base = ToyConfig()
    controls = {
        "out": "elsewhere",
        "max_minutes": 3.0,
        "resume": True,
        "checkpoint_minutes": 9.0,
        "log": "wandb",
        "cache": False,
        "progress": True,
    }
    names = {f.name for f in dataclasses.fields(RunConfig)}
    assert names == set(controls) | {"overwrite", "seed"}, "a new option: is it a control or part of the identity?"
    assert fingerprint(ToyConfig(run=RunConfig(**controls))) == fingerprint(base)


def test_all_other_fields_change_the_fingerprint():
    variants = [
        ToyConfig(),
        ToyConfig(lr=0.2),
        ToyConfig(task=Task(9)),
        ToyConfig(steps=40),
        ToyConfig(run=RunConfig(seed=1)),
    ]
    assert len({fingerprint(v) for v in variants}) == len(variants)


def test_fingerprint_is_the_same_in_every_process():
    assert fingerprint(ToyConfig()) == "845db7cfefabe2d6"


def test_json_round_trip():
    config = ToyConfig(lr=0.3, task=Task(5))
    assert identity(from_json(ToyConfig, identity(config))) == identity(config)
    assert from_json(ToyConfig, {"lr": 0.5}) == ToyConfig(lr=0.5)
    with pytest.raises(ValueError, match="ToyConfig has no field 'rl'"):
        from_json(ToyConfig, {"rl": 0.3})


def test_json_data_names_nested_classes():
    config = identity(ToyConfig())
    assert config["task"] == {"kind": "Task", "size": 8}
    assert config["seed"] == 0
    assert "run" not in config
    assert to_json((1, [2.5, None], {"a": float("inf")})) == [1, [2.5, None], {"a": "inf"}]
    with pytest.raises(ValueError, match="no JSON form"):
        to_json(print)


def test_differences_name_the_field_and_both_values():
    old, new = identity(ToyConfig()), identity(ToyConfig(lr=0.2, task=Task(9)))
    assert differences(old, new) == ["lr: 0.1 in the folder, 0.2 now", "task.size: 8 in the folder, 9 now"]
    assert differences({"a": 1}, {"b": 1}) == ["a: 1 in the folder, (absent) now", "b: (absent) in the folder, 1 now"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": " "}, "out"),
        ({"seed": -1}, r"seed.*got -1"),
        ({"max_minutes": 0.0}, r"max-minutes.*got 0"),
        ({"max_minutes": float("nan")}, "max-minutes"),
        ({"checkpoint_minutes": -1.0}, "checkpoint-minutes"),
        ({"resume": True, "overwrite": True}, "exclude each other"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**options)


def test_run_config_is_found_or_missed():
    assert run_config(ToyConfig()).out == "runs/toy"
    with pytest.raises(ValueError, match="no field of type RunConfig"):
        run_config(Task())


def test_written_files_are_whole_or_old(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError):
        write_text(path, "half")
    assert path.read_text() == '{\n  "a": 1\n}\n'


def test_configurations_are_frozen_and_hashable():
    @dataclass(frozen=True)
    class Other:
        run: RunConfig = RunConfig()

    assert hash(Other()) == hash(Other())
