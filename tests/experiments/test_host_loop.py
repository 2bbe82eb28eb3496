"""The loop on the host: resumed equals uninterrupted, and a damaged checkpoint is passed over."""

import json
import os
import signal
from dataclasses import dataclass

import numpy as np
import pytest

from experiments.common.config import Run, RunConfig
from experiments.common.folder import open_folder
from experiments.common.host_loop import run_on_host


class Walk:
    """A random walk."""

    def __init__(self, interrupt=None):
        self.rng, self.at, self.interrupt = np.random.default_rng(0), 0.0, interrupt

    def step(self, i):
        self.at += float(self.rng.normal())
        if i == self.interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"at": self.at, "time/clock": 0.0}

    def plain(self):
        return {"at": self.at, "rng": self.rng.bit_generator.state}

    def restore(self, data):
        self.at, self.rng.bit_generator.state = data["at"], data["rng"]


@dataclass(frozen=True)
class WalkConfig:
    """A walk."""

    run: Run = RunConfig()


def walk(path, state, steps=6, **options):
    run = RunConfig(out=str(path), progress=False, **{"checkpoint_minutes": 0} | options)
    folder = open_folder(WalkConfig(run), "walk")
    try:
        return run_on_host(run, folder, state, state.step, steps)
    finally:
        folder.close()


def places(path):
    return [json.loads(line)["at"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_resumed_equals_uninterrupted(tmp_path):
    whole = walk(tmp_path / "whole", Walk(), checkpoint_minutes=100)
    first = walk(tmp_path / "parts", Walk(interrupt=3))
    assert (first.step, first.stopped) == (4, True) and "SIGTERM" in first.reason
    second = walk(tmp_path / "parts", Walk(), resume=True)
    assert (second.step, second.stopped) == (6, False)
    assert second.state.plain() == whole.state.plain()
    assert places(tmp_path / "parts") == places(tmp_path / "whole")
    assert walk(tmp_path / "parts", Walk(), resume=True).state.plain() == whole.state.plain()


def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys):
    walk(tmp_path, Walk(interrupt=3))
    (tmp_path / "checkpoints" / "4" / "state.txt").write_text("{}")
    again = walk(tmp_path, Walk(), resume=True)
    assert "checkpoint of step 4 is damaged" in capsys.readouterr().out
    assert len(places(tmp_path)) == 6 and again.state.at == places(tmp_path)[-1]


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(ValueError, match="number of steps must be >= 1"):
        walk(tmp_path / "none", Walk(), steps=0)
    walk(tmp_path / "short", Walk(interrupt=0))
    for path in (tmp_path / "short" / "checkpoints").iterdir():
        (path / "state.txt").rename(path / "other.txt")
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"] = {"other.txt": manifest["files"]["state.txt"]}
        (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="it is no text"):
        walk(tmp_path / "short", Walk(), resume=True)
