"""The loop on the host: a resumed run equals an uninterrupted one, and damaged checkpoints are skipped."""

import json
import os
import signal
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.cli.command_line import Run
from lopt.training.folder import open_folder
from lopt.training.host_loop import run_on_host
from lopt.training.run_config import RunConfig


class Walk:
    """A random walk."""

    def __init__(self, interrupt=None):
        self.rng, self.position, self.interrupt = np.random.default_rng(0), 0.0, interrupt

    def step(self, i):
        self.position += float(self.rng.normal())
        if i == self.interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
        return {"position": self.position, "time/zero": 0.0}

    def state_dict(self):
        return {"position": self.position, "rng": self.rng.bit_generator.state}

    def load_state_dict(self, data):
        self.position, self.rng.bit_generator.state = data["position"], data["rng"]


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


def positions(path):
    return [json.loads(line)["position"] for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_resumed_equals_uninterrupted(tmp_path):
    whole = walk(tmp_path / "whole", Walk(), checkpoint_minutes=100)
    first = walk(tmp_path / "parts", Walk(interrupt=3))
    assert (first.step, first.stopped) == (4, True) and "SIGTERM" in first.reason
    second = walk(tmp_path / "parts", Walk(), resume=True)
    assert (second.step, second.stopped) == (6, False)
    assert second.state.state_dict() == whole.state.state_dict()
    assert positions(tmp_path / "parts") == positions(tmp_path / "whole")
    assert walk(tmp_path / "parts", Walk(), resume=True).state.state_dict() == whole.state.state_dict()


def test_a_damaged_checkpoint_is_skipped(tmp_path, capsys):
    walk(tmp_path, Walk(interrupt=3))
    (tmp_path / "checkpoints" / "4" / "state.txt").write_text("{}")
    again = walk(tmp_path, Walk(), resume=True)
    assert "checkpoint of step 4 is damaged" in capsys.readouterr().out
    assert len(positions(tmp_path)) == 6 and again.state.position == positions(tmp_path)[-1]


def test_errors(tmp_path):
    with pytest.raises(ValueError, match="number of steps must be >= 1"):
        walk(tmp_path / "none", Walk(), steps=0)
    folder = open_folder(WalkConfig(RunConfig(out=str(tmp_path / "arrays"))), "walk")
    folder.checkpoints.save(1, {"x": jnp.zeros(1)})
    folder.close()
    with pytest.raises(ValueError, match="it is no text"):
        walk(tmp_path / "arrays", Walk(), resume=True)
