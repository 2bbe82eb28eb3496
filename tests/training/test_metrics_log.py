"""metrics.jsonl: exact, readable while it is written, truncated on resume."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from lopt.training import metrics_log as logging
from lopt.training.folder import RunFolder
from lopt.training.metrics_log import JsonlLogger, Loggers, check_logger, open_logger, read_metrics
from lopt.training.run_config import RunConfig


def test_metrics_round_trip_through_json(tmp_path):
    logger = JsonlLogger(tmp_path / "m.jsonl")
    logger.log(1, {"a": jnp.float32(0.1), "b": np.int64(3), "c": math.nan, "d": -math.inf, "e": True})
    row = json.loads((tmp_path / "m.jsonl").read_text())
    assert row == {"step": 1, "a": float(np.float32(0.1)), "b": 3, "c": None, "d": "-inf", "e": True}
    read = read_metrics(tmp_path / "m.jsonl")[0]
    assert math.isnan(read["c"])
    assert read["d"] == -math.inf
    logger.close()


def test_resume_drops_later_lines_and_half_lines(tmp_path):
    path = tmp_path / "m.jsonl"
    logger = JsonlLogger(path)
    for step in (5, 10, 15):
        logger.log(step, {"x": step, "time/wall_seconds": 2.0 * step})
    logger.close()
    kept = path.read_text().splitlines(keepends=True)[:2]
    path.write_text(path.read_text() + '{"step": 20, "x": 1')
    assert len(read_metrics(path)) == 3
    logger = JsonlLogger(path, 10)
    assert path.read_text() == "".join(kept)
    assert logger.seconds == 20.0
    logger.close()


def test_lost_lines_are_reported_and_the_others_kept(tmp_path, capsys):
    path = tmp_path / "m.jsonl"
    logger = JsonlLogger(path)
    for step in (1, 2, 3, 4):
        logger.log(step, {"x": step})
    logger.close()
    body = bytearray(path.read_bytes())
    body[body.index(b"2")] = 0xFF
    path.write_bytes(body)
    assert [row["step"] for row in read_metrics(path)] == [1, 3, 4]
    JsonlLogger(path, 3).close()
    assert "1 lines cannot be read and are lost" in capsys.readouterr().out
    assert [row["step"] for row in read_metrics(path)] == [1, 3]


def test_several_loggers_are_one(tmp_path, capsys):
    both = Loggers(JsonlLogger(tmp_path / "a"), JsonlLogger(tmp_path / "b"))
    both.log(1, {"x": 1.0})
    both.message("hello")
    both.close()
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() != ""
    assert "hello" in capsys.readouterr().out


@pytest.mark.parametrize(("log", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_the_error_of_a_missing_logger_has_its_install_command(tmp_path, monkeypatch, log, package):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=f"pip install {package}"):
        check_logger(RunConfig(log=log))
    check_logger(RunConfig())


def test_tensorboard_gets_the_same_numbers(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        """A fake of tensorboardX's class."""

        def __init__(self, path, purge_step):
            self.purge_step = purge_step

        def add_scalar(self, *args):
            written.append(args)

        def close(self):
            written.append("closed")

    module = type(logging)("tensorboardX")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX", module)
    logger, seconds = open_logger(RunConfig(log="tensorboard"), RunFolder(tmp_path, False), 0)
    logger.log(3, {"x": jnp.float32(1), "nan": jnp.nan})
    logger.close()
    assert written == [("x", 1.0, 3), "closed"]
    assert seconds == 0.0
