"""The training loop: a resumed run equals an uninterrupted one, stopping is safe, errors come before compilation."""

import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import pytest

from lopt.evaluation.report import nonfinite_note
from lopt.training.checkpoint import Checkpoints
from lopt.training.folder import RunFolder
from lopt.training.loop import Hook, check_sizes, run
from lopt.training.metrics_log import read_metrics
from lopt.training.run_config import RunConfig, fingerprint
from tests.reference.ulps import assert_ulps
from tests.training.toy import ToyConfig, train


def toy(folder, **changes) -> ToyConfig:
    fields = {f.name for f in dataclasses.fields(RunConfig)}
    of_run = {name: changes.pop(name) for name in list(changes) if name in fields}
    options = {"out": str(folder), "checkpoint_minutes": 0, "progress": False}
    return ToyConfig(run=RunConfig(**options | of_run), **changes)


def lines(folder: Path) -> list[str]:
    """The lines of the metrics file without those metrics that depend on wall time."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [json.dumps({k: v for k, v in row.items() if not k.startswith("time/")}) for row in rows]


def send(*numbers: signal.Signals):
    def call(key, step, state, logger):
        for number in numbers:
            os.kill(os.getpid(), number)

    return call


@pytest.fixture(autouse=True)
def interruptible():
    """A process started in the background ignores Ctrl-C; these tests send it."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_resumed_equals_uninterrupted(tmp_path, number):
    whole = train(toy(tmp_path / "whole", checkpoint_minutes=100))
    first = train(toy(tmp_path / "parts"), hooks=(Hook(10, send(number)),))
    assert (first.step, first.stopped) == (10, True)
    assert number.name in first.reason
    second = train(toy(tmp_path / "parts", resume=True))
    assert (second.step, second.stopped) == (20, False)
    chex.assert_trees_all_equal(*(jax.tree.map(as_data, o.state) for o in (whole, second)))
    assert type(second.state.opt_state[1][0]).__name__ == "ScaleByAdamState"
    assert lines(tmp_path / "whole") == lines(tmp_path / "parts")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def as_data(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_second_signal_aborts(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(toy(tmp_path / "run"), hooks=(Hook(10, send(signal.SIGINT, signal.SIGINT)),))
    assert train(toy(tmp_path / "run", resume=True)).step == 20


def test_time_limit_stops_after_a_chunk_and_finished_runs_stay_finished(tmp_path, capsys):
    stopped = train(toy(tmp_path / "run", max_minutes=1e-9, chunk=4))
    assert (stopped.step, stopped.stopped) == (4, True)
    assert train(toy(tmp_path / "run", chunk=4, resume=True)).step == 20
    before = (tmp_path / "run" / "metrics.jsonl").read_text()
    again = train(toy(tmp_path / "run", chunk=4, resume=True))
    assert (again.step, again.stopped) == (20, False)
    assert (tmp_path / "run" / "metrics.jsonl").read_text() == before


def test_a_run_proceeds_however_short_its_time_limit_is(tmp_path):
    for expected in (5, 10, 15, 20):
        outcome = train(toy(tmp_path / "run", max_minutes=1e-9, resume=expected > 5))
        assert (outcome.step, outcome.stopped) == (expected, expected < 20)


@pytest.mark.skipif(os.name == "nt", reason="no file locks")
def test_a_run_whose_folder_is_deleted_saves_its_state_beside_it(tmp_path):
    def delete(key, step, state, logger):
        shutil.rmtree(tmp_path / "run")

    with pytest.raises(FileNotFoundError, match="its state is saved in .*run.rescued-1") as error:
        train(toy(tmp_path / "run"), hooks=(Hook(10, delete),))
    assert error.value.__notes__ == [f"to continue: toy --resume --out {tmp_path}/run.rescued-1"]
    assert not (tmp_path / "run" / "checkpoints").exists()
    rescued = train(toy(tmp_path / "run.rescued-1", resume=True))
    whole = train(toy(tmp_path / "whole"))
    chex.assert_trees_all_equal(*(jax.tree.map(as_data, o.state) for o in (whole, rescued)))


def test_a_full_disk_ends_the_run_with_what_to_do_next(tmp_path, monkeypatch):
    write = Checkpoints._write

    def full(self, step, *args):
        if step > 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, step, *args)

    monkeypatch.setattr(Checkpoints, "_write", full)
    with pytest.raises(OSError, match="No space left") as error:
        train(toy(tmp_path / "run"))
    assert error.value.__notes__ == ["the checkpoint of step 10 is complete; to continue: toy --resume"]
    monkeypatch.undo()
    resumed, whole = train(toy(tmp_path / "run", resume=True)), train(toy(tmp_path / "whole"))
    chex.assert_trees_all_equal(*(jax.tree.map(as_data, o.state) for o in (whole, resumed)))


def test_killed_run_resumes_exactly(tmp_path):
    train(toy(tmp_path / "whole", steps=100, checkpoint_minutes=100))
    command = [sys.executable, "-m", "tests.training.toy", "--steps", "100", "--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command)
    metrics = tmp_path / "killed" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_text().count("\n") < 5:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    resumed = train(toy(tmp_path / "killed", steps=100, checkpoint_minutes=100, resume=True))
    assert (resumed.step, resumed.stopped) == (100, False)
    assert lines(tmp_path / "whole") == lines(tmp_path / "killed")


def test_metrics_are_chunk_means_and_nan_is_left_out(tmp_path):
    train(toy(tmp_path))
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "meta_loss" in row]
    single = [row for row in read_metrics(single_steps(tmp_path / "single")) if "meta_loss" in row]
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    mean = sum(row["meta_loss"] for row in single[:5]) / 5
    assert rows[0]["meta_loss"] == pytest.approx(mean, rel=1e-6)
    assert rows[0]["sometimes"] == pytest.approx((single[0]["meta_loss"] + single[3]["meta_loss"]) / 2, rel=1e-6)
    assert all(row["never"] != row["never"] for row in rows)
    assert all(row["time/steps_per_second"] > 0 for row in rows)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl") if "eval" in row] == [0, 10, 20]


def single_steps(folder: Path) -> Path:
    train(toy(folder, chunk=1, checkpoint_minutes=100))
    return folder / "metrics.jsonl"


@pytest.mark.parametrize(
    ("breaks_at", "good", "minutes"), [(3, 0, 0), (10, 5, 0), (10, 5, 100), (12, 10, 100), (0, 0, 0)]
)
def test_nonfinite_loss_stops_with_the_last_good_state(tmp_path, breaks_at, good, minutes):
    config = toy(tmp_path, breaks_at=breaks_at, checkpoint_minutes=minutes)
    with pytest.raises(FloatingPointError, match=f"step {breaks_at}: meta_loss = nan.*of step {good},.*learning rate"):
        train(config)
    checkpoints = Checkpoints(tmp_path / "checkpoints", identity=fingerprint(config))
    assert checkpoints.latest() == good
    template = train(
        toy(tmp_path / "reference", steps=max(good, 5), breaks_at=breaks_at + 100, checkpoint_minutes=9)
    ).state
    step, state = checkpoints.restore(template)
    assert step == good
    if good:
        # another program: ten steps of about ten roundings each
        assert_ulps(*(jax.tree.map(as_data, s) for s in (state, template)), ulps=100, scale=1.0)


def test_keys_of_hooks_depend_on_the_step_alone(tmp_path):
    keys = {}

    def record(key, step, state, logger):
        keys.setdefault(step, []).append(jax.random.key_data(key).tolist())

    train(toy(tmp_path / "a", checkpoint_minutes=9), hooks=(Hook(5, record),))
    train(toy(tmp_path / "b", checkpoint_minutes=9), hooks=(Hook(10, record),))
    assert sorted(keys) == [5, 10, 15, 20]
    assert keys[10][0] == keys[10][1] != keys[20][0]


def test_a_run_of_no_steps_returns_the_initial_state_and_is_finished(tmp_path):
    whole = train(toy(tmp_path / "whole"), hooks=(Hook(10, lambda *args: None),))
    none = train(toy(tmp_path / "none", steps=0))
    assert (none.step, none.stopped) == (0, False) and whole.step == 20
    initial = jax.random.normal(jax.random.clone(none.state.key), (8,))
    # two programs: the inverse error function may be fused differently
    chex.assert_trees_all_close(none.state.theta["w"], initial, rtol=1e-5)
    again = train(toy(tmp_path / "none", steps=0, resume=True))
    chex.assert_trees_all_equal(again.state.theta, none.state.theta)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((20, 6), "chunks that divide 20: 1, 2, 4, 5, 10"),
        ((0, 1), "must be >= 1"),
        ((-1, 1, [], 0), r"must be >= 0 and >= 1 \(got -1 and 1\)"),
        ((20, 5, [Hook(7, print)]), "every 5 steps would do"),
        ((20, 5, [Hook(0, print)]), "every 5 steps would do"),
    ],
)
def test_sizes_that_do_not_divide(sizes, message):
    with pytest.raises(ValueError, match=message):
        check_sizes(*sizes)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (lambda: {"x": jnp.zeros(3), "loss": 1.0}, r"'x' must be a scalar \(got shape \(3,\)"),
        (lambda: {"x": 1.0}, "no metric 'loss'; the step returns x"),
        (lambda: 1.0, "must return"),
    ],
)
def test_wrong_metrics_are_found_at_trace_time(tmp_path, metrics, message):
    with pytest.raises(ValueError, match=message):
        run(
            RunConfig(progress=False),
            RunFolder(tmp_path, False),
            init=lambda key: jnp.zeros(()),
            step=lambda key, state: (state, metrics()),
            num_steps=4,
            chunk=2,
            finite=("loss",),
        )
    assert list(tmp_path.iterdir()) == []


def test_printed_progress_line(tmp_path, capsys):
    train(toy(tmp_path, progress=True, checkpoint_minutes=9))
    out = capsys.readouterr().out
    assert "step 20/20" in out
    assert "meta_loss" in out
    assert len(re.findall("^step ", out, re.MULTILINE)) == 1


def test_compilation_is_announced_before_the_first_step(tmp_path, capsys):
    train(toy(tmp_path, progress=True, checkpoint_minutes=9, max_minutes=1e-9))
    assert capsys.readouterr().out.startswith("compiling the step ...\nmeasuring before the first step ...\n")
    train(toy(tmp_path, progress=True, checkpoint_minutes=9, resume=True, chunk=5))
    assert "compiling the step ...\n" in capsys.readouterr().out


def test_one_warning_about_nonfinite_lifetimes(tmp_path, capsys):
    train(toy(tmp_path, progress=True, checkpoint_minutes=9), frac_nonfinite=(0.0,) * 5 + (0.5,) * 2 + (0.0,) * 13)
    out = capsys.readouterr().out
    assert out.count("warning: up to step 10, 20 % of lifetimes were left out") == 1
    assert "smaller learning rate" in out
    rows = [row["frac_nonfinite"] for row in read_metrics(tmp_path / "metrics.jsonl") if "frac_nonfinite" in row]
    assert rows == pytest.approx([0, 0.2, 0, 0])
    assert nonfinite_note(read_metrics(tmp_path / "metrics.jsonl")) == (
        "5 % of lifetimes were left out because they were not finite (largest in one chunk 20 %)."
    )


def test_the_run_stops_if_every_lifetime_is_nonfinite(tmp_path, capsys):
    fractions = (0.0,) * 12 + (1.0,) + (0.0,) * 7
    with pytest.raises(FloatingPointError, match=r"step 12: .*frac_nonfinite = 1.0 \(every lifetime .*of step 10"):
        train(toy(tmp_path), frac_nonfinite=fractions)
    assert RunFolder(tmp_path, True).checkpoints.latest() == 10
    train(toy(tmp_path / "unmeasured"), frac_nonfinite=(math.nan,) * 20)  # not measured: no warning
    assert "warning" not in capsys.readouterr().out


def test_the_note_of_a_stopped_run(tmp_path):
    outcome = train(toy(tmp_path, max_minutes=1e-9))
    assert outcome.note == f"stopped at step {outcome.step} of 20, not finished"


def test_state_may_hold_one_array_twice(tmp_path):
    """A target network equals its network initially; donated states must not share buffers."""
    outcome = run(
        RunConfig(progress=False, checkpoint_minutes=9),
        RunFolder(tmp_path, False),
        init=lambda key: (lambda x: {"net": x, "target": x, "weak": 1.0})(jax.random.normal(key, (3,))),
        step=lambda key, s: ({"net": s["net"] + 1, "target": s["target"], "weak": s["weak"] * 2}, {"x": s["weak"]}),
        num_steps=4,
        chunk=2,
    )
    assert float(outcome.state["weak"]) == 16.0
    chex.assert_trees_all_close(outcome.state["net"], outcome.state["target"] + 4)
