"""The progress display: its fit into the width of a terminal, and printed lines elsewhere."""

import re
from io import StringIO

import pytest
from rich.console import Console

from lopt.training import progress
from lopt.training.progress import BAR, ProgressDisplay, fit, status

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
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
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
    assert bars[0] >= BAR and bars[2] == progress.LONGEST_BAR


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
