"""The command line: presets, help, near matches, exit codes."""

import os
import subprocess
import sys

import pytest

from experiments.common import cli
from tests.experiments.toy import PRESETS, ToyConfig


def test_presets_and_overrides():
    assert cli.parse(ToyConfig, PRESETS, []) == ToyConfig()
    assert cli.parse(ToyConfig, PRESETS, ["--preset", "paper"]).steps == 40
    config = cli.parse(
        ToyConfig, PRESETS, ["--lr", "0.5", "--preset=paper", "--task.size", "3", "--out", "x", "--max-minutes", "2"]
    )
    assert (config.steps, config.lr, config.task.size) == (40, 0.5, 3)
    assert (config.run.out, config.run.max_minutes, config.run.checkpoint_minutes) == ("x", 2.0, 0)


def test_unknown_preset_names_near_matches():
    with pytest.raises(ValueError, match=r"unknown preset 'papr'; did you mean paper\? choose from paper, quick"):
        cli.parse(ToyConfig, PRESETS, ["--preset", "papr"])
    with pytest.raises(ValueError, match="unknown preset 'zzz'; choose from"):
        cli.parse(ToyConfig, PRESETS, ["--preset", "zzz"])
    with pytest.raises(ValueError, match="a name must follow"):
        cli.parse(ToyConfig, PRESETS, ["--preset"])


def test_choose():
    assert cli.choose("score", "mean", {"mean": 1}) == 1
    with pytest.raises(ValueError, match="did you mean mean"):
        cli.choose("score", "meen", {"mean": 1})


def test_help_explains_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(ToyConfig, PRESETS, ["--help", "--preset", "paper"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for part in ("Steps (count)", "default: 40", "--task.size", "--max-minutes", "quick, paper", "newest checkpoint"):
        assert part in text


@pytest.mark.parametrize("argv", [["--lr", "-1"], ["--lr", "x"], ["--stepps", "3"], ["--log", "wand"]])
def test_bad_options_exit_with_two(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(ToyConfig, PRESETS, argv)
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def fail(error):
    def main(config):
        raise error

    return main


def test_errors_are_one_line(capsys, monkeypatch):
    scope = {"__name__": "experiments.example"}
    source = "def main(config):\n    raise ValueError('size: must be > 0 (got 0)')\n"
    exec(compile(source, "example.py", "exec"), scope)
    monkeypatch.setattr("linecache.getline", lambda name, number: source.splitlines()[1])
    with pytest.raises(SystemExit) as stop:
        cli.launch(scope["main"], ToyConfig, PRESETS, ["--no-cache"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: size: must be > 0 (got 0)\n"
    monkeypatch.setenv("LOPT_TRACEBACK", "1")
    with pytest.raises(ValueError, match="size"):
        cli.launch(scope["main"], ToyConfig, PRESETS, ["--no-cache"])


def test_errors_of_others_keep_their_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        cli.report_errors(lambda: int("x"))


def test_interrupt_exits_with_130():
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert stop.value.code == 130


def test_command_lines():
    program = cli.program()
    assert cli.command_line(["--lr", "1", "--overwrite", "--resume"]) == f"{program} --lr 1"
    shell = program.replace("python", cli.interpreter(), 1)
    assert cli.resume_command(["--out", "a b", "--overwrite"]) == f"{shell} --out 'a b' --resume"


def test_a_resume_line_repeats_no_time_limit():
    for words in ("--max-minutes 3", "--max-minutes=3", "--max_minutes 3"):
        line = cli.resume_line(f"somewhere/python -m toy {words} --out 'a b'")
        assert line == "somewhere/python -m toy --out 'a b' --resume"


def test_a_printed_line_runs_in_the_shell_that_sees_it(tmp_path, monkeypatch):
    """`make` starts .venv/bin/python, which a plain shell does not find under the name python."""
    for name in (".venv/bin", "other"):
        (tmp_path / name).mkdir(parents=True)
        python = tmp_path / name / "python"
        python.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert cli.resume_line("python -m toy") == ".venv/bin/python -m toy --resume"
    monkeypatch.chdir(tmp_path / "other")
    assert cli.runnable("python -m toy") == f"{tmp_path}/.venv/bin/python -m toy"
    monkeypatch.setenv("PATH", str(tmp_path / ".venv" / "bin"))
    assert cli.runnable("python -m toy") == "python -m toy"
    monkeypatch.setenv("PATH", "")
    assert cli.runnable("python -m toy") == f"{tmp_path}/.venv/bin/python -m toy"


def test_the_line_of_a_stopped_run_goes_on_with_it(tmp_path):
    """From the outside: stopped by its time limit, then the printed line as it is, in a shell with a bare PATH."""
    run = [sys.executable, "-m", "tests.experiments.toy", "--out", str(tmp_path / "run"), "--max-minutes", "1e-9"]
    stopped = subprocess.run(run, capture_output=True, text=True)
    assert stopped.returncode == 0, stopped.stderr
    line = stopped.stdout.strip().splitlines()[-1].split(": ", 1)[1]
    again = subprocess.run(line, shell=True, capture_output=True, text=True, env=os.environ | {"PATH": "/usr/bin:/bin"})
    assert "step 20: done" in again.stdout, again.stderr


def test_a_study_from_the_outside(tmp_path):
    """One process: bad input ends before JAX does anything, with a clean line."""
    command = [sys.executable, "-m", "tests.experiments.toy", "--preset", "papre", "--out", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: unknown preset 'papre'; did you mean paper? choose from paper, quick\n"
    assert not (tmp_path / "run").exists()
