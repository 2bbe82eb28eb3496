"""The run folder: nothing is overwritten without --overwrite."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import pytest

from lopt.training.folder import open_folder
from lopt.training.run_config import RunConfig
from tests.training.toy import Task, ToyConfig, train


def config(path, lr=0.1, **run) -> ToyConfig:
    return ToyConfig(lr=lr, steps=5, run=RunConfig(out=str(path), progress=False, **run))


@pytest.fixture
def finished(tmp_path):
    train(config(tmp_path / "run"), command="python -m toy --lr 0.1")
    return tmp_path / "run"


def content(path):
    return {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_an_existing_run_is_refused_with_the_two_commands(finished):
    before = content(finished)
    with pytest.raises(ValueError) as error:
        open_folder(config(finished), "python -m toy")
    assert "python -m toy --resume\n" in str(error.value)
    assert str(error.value).endswith("python -m toy --overwrite")
    with pytest.raises(ValueError, match="--lr 0.1 --resume .*its own configuration"):
        open_folder(config(finished, lr=0.2), "python -m toy --lr 0.2")
    assert content(finished) == before


def test_another_configuration_is_refused_with_the_differences(finished):
    before = content(finished)
    other = dataclasses.replace(config(finished, lr=0.2, resume=True), task=Task(9))
    with pytest.raises(ValueError) as error:
        open_folder(other, "toy")
    assert "lr: 0.1 in the folder, 0.2 now" in str(error.value)
    assert "task.size: 8 in the folder, 9 now" in str(error.value)
    assert content(finished) == before


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(config(tmp_path / "none", resume=True), "toy")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_was_killed_before_its_first_checkpoint_starts_at_the_beginning(tmp_path, resume, capsys):
    open_folder(config(tmp_path / "run"), "toy").close()
    (tmp_path / "run" / "checkpoints" / "tmp-0").mkdir(parents=True)
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    folder = open_folder(config(tmp_path / "run", resume=resume), "toy")
    assert not folder.resumed and not (tmp_path / "run" / "checkpoints").exists()
    assert ("the run starts at the beginning" in capsys.readouterr().out) == resume
    folder.close()
    open_folder(config(tmp_path / "run", lr=0.2), "toy").close()  # it has no step, so another one may take the folder


def test_a_finished_run_without_checkpoints_is_not_deleted(finished):
    shutil.rmtree(finished / "checkpoints")
    (finished / "report.md").write_text("x")
    for resume in (False, True):
        with pytest.raises(ValueError, match="already holds a run"):
            open_folder(config(finished, resume=resume), "toy")


def test_a_run_whose_record_is_torn_is_known_by_its_checkpoints(finished):
    text = (finished / "config.json").read_text()
    record = json.loads(text)
    (finished / "config.json").write_text(text[:50])
    with pytest.raises(ValueError, match=r"(?s)config.json cannot be read.*--resume\n.*--overwrite"):
        open_folder(config(finished), "python -m toy")
    with pytest.raises(ValueError, match="belong to another configuration"):
        open_folder(config(finished, lr=0.2, resume=True), "toy")
    folder = open_folder(config(finished, resume=True), "python -m toy --lr 0.1")
    assert folder.resumed
    written = json.loads((finished / "config.json").read_text())
    assert {k: v for k, v in written.items() if k != "run"} == {k: v for k, v in record.items() if k != "run"}
    folder.close()
    (finished / "config.json").write_text("")
    open_folder(config(finished, overwrite=True), "toy").close()


@pytest.mark.skipif(os.name == "nt", reason="no file locks")
@pytest.mark.parametrize("change", ["deleted", "replaced", "moved"])
def test_a_lost_folder_is_noticed(tmp_path, change):
    folder = open_folder(config(tmp_path / "run"), "toy")
    assert not folder.lost
    if change == "moved":
        (tmp_path / "run").rename(tmp_path / "elsewhere")
    else:
        shutil.rmtree(tmp_path / "run")
    if change == "replaced":
        open_folder(config(tmp_path / "run"), "toy").close()
    assert folder.lost
    folder.close()


def test_overwrite_empties_the_run_folder_alone(finished, tmp_path):
    (tmp_path / "kept.txt").write_text("x")
    (finished / "link").symlink_to(tmp_path)
    folder = open_folder(config(finished, overwrite=True), "toy")
    assert sorted(p.name for p in finished.iterdir()) == [".lock", "config.json"]
    assert (tmp_path / "kept.txt").exists()
    assert not folder.resumed
    folder.close()


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_without_a_run_are_not_changed(tmp_path, overwrite):
    (tmp_path / "thesis.tex").write_text("x")
    (tmp_path / "config.json").write_text('{"format": "another program"}')
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    (tmp_path / "checkpoints" / "1" / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(config(tmp_path, overwrite=overwrite), "toy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoints", "config.json", "thesis.tex"]


def test_a_refused_run_keeps_its_lock_file(finished):
    before = content(finished)
    with pytest.raises(ValueError, match="already holds a run"):
        open_folder(config(finished), "toy")
    assert content(finished) == before and (finished / ".lock").exists()


def test_overwrite_refuses_the_current_folder(finished, monkeypatch):
    monkeypatch.chdir(finished)
    with pytest.raises(ValueError, match="contains the current folder"):
        open_folder(config(finished, overwrite=True), "toy")
    assert (finished / "metrics.jsonl").exists()


def test_unwritable(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="cannot write to .*another --out"):
        open_folder(config(tmp_path / "file" / "run"), "toy")

    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", denied)
    with pytest.raises(ValueError, match="Permission denied"):
        open_folder(config(tmp_path / "run"), "toy")


@pytest.mark.skipif(os.name == "nt", reason="no file locks")
def test_one_process_at_a_time(tmp_path):
    folder = open_folder(config(tmp_path / "run"), "toy")
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'w')\n"
        "try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept OSError: sys.exit(7)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "run" / ".lock")]
    assert subprocess.run(command).returncode == 7
    with pytest.raises(ValueError, match="another process"):
        open_folder(config(tmp_path / "run"), "toy")
    folder.close()
    assert subprocess.run(command).returncode == 0
