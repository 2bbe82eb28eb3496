"""Plots, reports and results."""

import json
import math
import sys

import numpy as np
import pytest

from lopt.evaluation import plots
from lopt.evaluation.plots import curves, intervals, smooth
from lopt.evaluation.report import image, table, write_report, write_results
from lopt.evaluation.statistics import Interval
from lopt.training.folder import RunFolder
from tests.training.toy import ToyConfig


def png_size(path):
    header = path.read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(header[16:20], "big"), int.from_bytes(header[20:24], "big")


ROWS = [{"step": i, "a": float(i), "b": math.nan if i % 2 else 1.0, "time/x": 1.0} for i in range(60)]


def test_curves_plot_the_given_panels(tmp_path):
    assert curves(ROWS, tmp_path / "two.png")
    assert curves(ROWS, tmp_path / "one.png", {"both": ["a", "b", "unknown"], "empty": ["unknown"]})
    two, one = png_size(tmp_path / "two.png"), png_size(tmp_path / "one.png")
    assert two[0] > 1.8 * one[0]
    assert not curves(ROWS[:1], tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_curves_read_a_metrics_file(tmp_path):
    (tmp_path / "metrics.jsonl").write_text("".join(f'{{"step": {i}, "a": null, "b": {i}}}\n' for i in range(5)))
    assert curves(tmp_path / "metrics.jsonl", tmp_path / "c.png")


def test_smoothing_ignores_nan():
    np.testing.assert_allclose(smooth(np.array([1.0, math.nan, 3.0, 5.0]), 3), [1, 2, 4, 4])
    np.testing.assert_allclose(smooth(np.arange(3.0), 1), np.arange(3.0))
    np.testing.assert_allclose(smooth(np.arange(3.0), 9), [0.5, 1, 1.5])


def test_intervals(tmp_path):
    rows = {"x": {"A": Interval(1, 0, 2), "B": Interval(2, 1, 3)}, "y": {"B": Interval(0, -1, 1)}}
    intervals(rows, tmp_path / "i.png", "return", zero=True)
    assert png_size(tmp_path / "i.png")[0] > 500


def test_more_methods_than_colours_have_styles_of_their_own(tmp_path):
    styles = [tuple(sorted(plots.line_style(i).items())) for i in range(4 * len(plots.COLORS))]
    assert len(set(styles)) == len(styles)
    rows = [{"step": k} | {f"m{i}": 1.0 for i in range(9)} for k in range(3)]
    drawn = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_curve", lambda axis, *options: drawn.extend(axis.plot([0], [0], label=options[-1])))
        assert curves(rows, tmp_path / "c.png", {"all": list(rows[0])[1:]})
    assert [line.get_label() for line in drawn] == list(rows[0])[1:]


def test_plots_leave_pyplot_alone(tmp_path):
    curves(ROWS, tmp_path / "a.png")
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


def test_table():
    assert table(("rule", "IQM"), [("a|b", 0.12345), ("c", 2)]) == (
        "| rule | IQM |\n| --- | ---: |\n| a\\|b | 0.123 |\n| c | 2 |"
    )
    with pytest.raises(ValueError, match="2 cells"):
        table(("a", "b"), [(1,)])


def test_reports_mention_nonfinite_lifetimes(tmp_path):
    folder = RunFolder(tmp_path, False, "python -m toy")
    rows = [{"step": 1}, {"step": 2, "frac_nonfinite": 0.0}, {"step": 4, "frac_nonfinite": None}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_report(folder, "A toy", ToyConfig(), {})
    assert "left out" not in (tmp_path / "report.md").read_text()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "frac_nonfinite": 0.25}\n')
    write_report(folder, "A toy", ToyConfig(), {})
    text = (tmp_path / "report.md").read_text()
    assert "12 % of lifetimes were left out because they were not finite (largest in one chunk 25 %)." in text


def test_curves_have_labels_and_horizontal_lines(tmp_path, monkeypatch):
    labels = []
    monkeypatch.setattr(
        "matplotlib.axes.Axes.legend", lambda axis, **_: labels.extend(axis.get_legend_handles_labels()[1])
    )
    panels = {"both": {"a": "the first", "b": "the second"}, "one": ["a"]}
    assert curves(ROWS, tmp_path / "c.png", panels, lines={"both": {"A2C": 1.0}})
    assert labels == ["the first", "the second", "A2C"]


def test_report_and_results(tmp_path):
    folder = RunFolder(tmp_path, False, "python -m toy --lr 0.1")
    body = table(("rule", "IQM"), [("a", Interval(1, 0.5, 2))])
    write_report(folder, "A toy", ToyConfig(), {"Result": body, "Picture": image("my curves.png", "a curve")})
    text = (tmp_path / "report.md").read_text()
    for part in (
        "# A toy",
        "python -m toy --lr 0.1",
        "| a | 1 [0.5, 2] |",
        "![a curve](my%20curves.png)",
        "| `task.size` | 8 |",
        "| `seed` | 0 |",
    ):
        assert part in text
    write_results(folder, {"iqm": Interval(1, 0.5, math.inf), "all": np.array([1.0, np.nan]), "n": np.int64(3)})
    assert json.loads((tmp_path / "results.json").read_text()) == {
        "iqm": {"value": 1, "low": 0.5, "high": "inf"},
        "all": [1.0, "nan"],
        "n": 3,
    }
