"""The run folder: nothing is overwritten without --overwrite."""

import dataclasses
import os
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


def test_resume_needs_a_run_and_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(config(tmp_path / "none", resume=True), "toy")
    assert not (tmp_path / "none").exists()
    open_folder(config(tmp_path / "run"), "toy").close()
    with pytest.raises(ValueError, match="no checkpoint yet"):
        open_folder(config(tmp_path / "run", resume=True), "toy")
    open_folder(config(tmp_path / "run", lr=0.2), "toy").close()  # it has no step, so nothing is deleted


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
    with pytest.raises(ValueError, match="holds no run"):
        open_folder(config(tmp_path, overwrite=overwrite), "toy")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "thesis.tex"]


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
