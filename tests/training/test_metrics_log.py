"""metrics.jsonl: exact, readable while it is written, truncated on resume; the progress display: lines, and widths."""

import json
import math
import re
from io import StringIO

import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from lopt.training import metrics_log
from lopt.training import metrics_log as logging
from lopt.training.folder import RunFolder
from lopt.training.metrics_log import (
    BAR,
    JsonlLogger,
    Loggers,
    ProgressDisplay,
    check_logger,
    fit,
    open_logger,
    read_metrics,
    status,
)
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


METRICS = {"reward": 0.34567, "policy_entropy": 1.23456, "frac_nonfinite": 0.125}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(width):
    return Console(width=width, force_terminal=True, file=StringIO())


def shown(console) -> list[str]:
    """The lines written, without escape sequences."""
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", console.file.getvalue())) if line.strip()]


@pytest.fixture
def fake_time(monkeypatch):
    """A fake of `time.monotonic`: the test sets its value in seconds."""
    now = [1000.0]
    monkeypatch.setattr(metrics_log.time, "monotonic", lambda: now[0])
    return now


def last_line(width, fake_time, metrics):
    console = terminal(width)
    with ProgressDisplay(800, 0, ("reward", "policy_entropy"), console=console) as display:
        fake_time[0] += 3725
        display.update(400, metrics)
    return shown(console)[-1]


@pytest.mark.parametrize(
    ("width", "parts", "dropped"),
    [
        (60, ("reward 0.3457",), ("policy_entropy", "steps", "s/step", "elapsed")),
        (80, ("reward 0.3457", "policy_entropy 1.235"), ("elapsed",)),
        (120, ("reward 0.3457", "policy_entropy 1.235", "9.3 s/step", "elapsed 1:02:05"), ()),
    ],
)
def test_the_line_fits_without_truncated_parts(width, parts, dropped, fake_time):
    line = last_line(width, fake_time, {name: METRICS[name] for name in ("reward", "policy_entropy")})
    assert len(line.rstrip()) <= width and "…" not in line
    for part in ("400/800", "1:02:05 left", *parts):
        assert part in line
    assert not any(part in line for part in dropped)
    assert len(re.findall("[━╸╺]", line)) >= BAR


def test_the_bar_grows_with_the_width(fake_time):
    bars = [len(re.findall("[━╸╺]", last_line(width, fake_time, METRICS))) for width in (40, 60, 200)]
    assert bars[0] >= BAR and bars[2] == metrics_log.LONGEST_BAR


def test_the_nonfinite_fraction_is_shown_first(fake_time, capsys):
    assert "12 % non-finite" in last_line(60, fake_time, METRICS)
    with ProgressDisplay(10, 0, ("reward",)) as display:
        display.update(10, METRICS)
    assert "left  12 % non-finite  reward 0.3457\n" in capsys.readouterr().out
    assert "non-finite" not in last_line(120, fake_time, METRICS | {"frac_nonfinite": 0.0})
    assert "non-finite" not in last_line(120, fake_time, METRICS | {"frac_nonfinite": float("nan")})


def test_fit_drops_from_the_end():
    assert fit(["ab"], ["cd", "efgh", "i"], 6) == ["ab", "cd"]
    assert fit(["ab"], [], 0) == ["ab"]


def test_status_counts_on_a_terminal_and_prints_once_elsewhere(fake_time, capsys):
    console = terminal(80)
    with status("compiling the meta-step", console=console):
        fake_time[0] += 12
    assert shown(console)[-1].strip() == "compiling the meta-step ... 12 s"
    with status("compiling the meta-step"):
        fake_time[0] += 12
    assert capsys.readouterr().out == "compiling the meta-step ...\n"
    with status("compiling the meta-step", enabled=False):
        pass
    assert capsys.readouterr().out == ""
