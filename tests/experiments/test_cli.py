"""Command line: presets, help, near matches, exit codes, and the lines that resume a run."""

import importlib
import inspect
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from experiments.__main__ import studies
from experiments.cli import command_line as cli
from experiments.grid.config import StudyConfig
from lopt.training import CheckpointError, stopping
from tests.training.toy import PRESETS, ToyConfig


def test_options_override_the_preset():
    assert cli.parse(ToyConfig, PRESETS, []) == ToyConfig()
    assert cli.parse(ToyConfig, PRESETS, ["--preset", "paper"]).steps == 40
    config = cli.parse(
        ToyConfig, PRESETS, ["--lr", "0.5", "--preset=paper", "--task.size", "3", "--out", "x", "--max-minutes", "2"]
    )
    assert (config.steps, config.lr, config.task.size) == (40, 0.5, 3)
    assert (config.run.out, config.run.max_minutes, config.run.checkpoint_minutes) == ("x", 2.0, 0)


def test_unknown_preset_raises_a_message_with_near_matches():
    with pytest.raises(ValueError, match=r"unknown preset 'papr'; did you mean paper\? choose from paper, quick"):
        cli.parse(ToyConfig, PRESETS, ["--preset", "papr"])
    with pytest.raises(ValueError, match="unknown preset 'zzz'; choose from"):
        cli.parse(ToyConfig, PRESETS, ["--preset", "zzz"])
    with pytest.raises(ValueError, match="a name must follow"):
        cli.parse(ToyConfig, PRESETS, ["--preset"])


def test_choose_raises_a_message_with_near_matches():
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


def test_errors_of_this_project_are_one_line(capsys, monkeypatch):
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


def test_errors_of_other_packages_keep_their_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        cli.report_errors(lambda: int("x"))


@pytest.mark.parametrize(
    ("error", "code"),
    [("ValueError", 2), ("ImportError", 2), ("FloatingPointError", 3), ("CheckpointError", 4), ("OSError", 74)],
)
def test_every_kind_of_error_has_its_exit_code(error, code, monkeypatch, capsys):
    scope = {"__name__": "experiments.example", "CheckpointError": CheckpointError}
    source = f"def main():\n    raise {error}('what happened')\n"
    exec(compile(source, "example.py", "exec"), scope)
    monkeypatch.setattr("linecache.getline", lambda name, number: source.splitlines()[1])
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(scope["main"])
    assert (stop.value.code, capsys.readouterr().err) == (code, "error: what happened\n")


def test_errors_of_files_in_other_packages_are_one_line_with_what_to_do(capsys):
    def main():
        try:
            open("/nowhere/at/all")
        except OSError as error:
            error.add_note("to continue: do this")
            raise

    with pytest.raises(SystemExit) as stop:
        cli.report_errors(main)
    assert stop.value.code == 74
    assert capsys.readouterr().err.endswith("'/nowhere/at/all'\n  to continue: do this\n")


def test_a_stopped_run_ends_with_75_and_a_finished_one_with_0(tmp_path):
    def toy(*options):
        argv = [sys.executable, "-m", "tests.training.toy", "--out", str(tmp_path / "run"), *options]
        return subprocess.run(argv, capture_output=True, text=True).returncode

    assert toy("--max-minutes", "1e-9") == 75
    assert toy("--resume") == 0
    for manifest in (tmp_path / "run" / "checkpoints").glob("*/manifest.json"):
        manifest.write_text("")
    assert toy("--resume") == 4


@pytest.mark.slow  # ten starts
def test_ctrl_c_while_modules_are_imported_is_a_message(tmp_path):
    for delay in np.linspace(0.15, 2.5, 10):
        argv = [sys.executable, "-m", "experiments.groove", "--out", str(tmp_path / "run")]
        process = subprocess.Popen(
            argv, stderr=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        )
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
        assert process.returncode in (130, 75), (delay, process.returncode, err)
        assert "Traceback" not in err, (delay, err)


def test_interrupt_exits_with_130():
    with pytest.raises(SystemExit) as stop:
        cli.report_errors(lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert stop.value.code == 130


def test_a_reader_of_the_output_that_has_gone_ends_the_program_quietly():
    code = "from experiments.cli.command_line import report_errors; report_errors(lambda: print('x'))"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_command_line_leaves_out_resume_and_overwrite():
    program = stopping.program()
    assert stopping.command_line(["--lr", "1", "--overwrite", "--resume"]) == f"{program} --lr 1"
    shell = program.replace("python", stopping.interpreter(), 1)
    assert stopping.resume_command(["--out", "a b", "--overwrite"]) == f"{shell} --out 'a b' --resume"


def test_a_resume_line_leaves_out_the_time_limit():
    for option in ("--max-minutes 3", "--max-minutes=3", "--max_minutes 3"):
        line = stopping.resume_line(f"somewhere/python -m toy {option} --out 'a b'")
        assert line == "somewhere/python -m toy --out 'a b' --resume"


def test_a_printed_command_has_the_interpreter_of_this_process(tmp_path, monkeypatch):
    """`make` uses .venv/bin/python, which is not `python` on the PATH of a shell."""
    for name in (".venv/bin", "other"):
        (tmp_path / name).mkdir(parents=True)
        python = tmp_path / name / "python"
        python.symlink_to(sys.executable)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "other"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    assert stopping.resume_line("python -m toy") == ".venv/bin/python -m toy --resume"
    monkeypatch.chdir(tmp_path / "other")
    assert stopping.runnable("python -m toy") == f"{tmp_path}/.venv/bin/python -m toy"
    monkeypatch.setenv("PATH", str(tmp_path / ".venv" / "bin"))
    assert stopping.runnable("python -m toy") == "python -m toy"
    monkeypatch.setenv("PATH", "")
    assert stopping.runnable("python -m toy") == f"{tmp_path}/.venv/bin/python -m toy"


def test_the_printed_line_of_a_stopped_run_resumes_it(tmp_path):
    """A process is stopped by its time limit; the printed line is run in a shell with a minimal PATH."""
    run = [sys.executable, "-m", "tests.training.toy", "--out", str(tmp_path / "run"), "--max-minutes", "1e-9"]
    stopped = subprocess.run(run, capture_output=True, text=True)
    assert stopped.returncode == 75, stopped.stderr
    line = stopped.stdout.strip().splitlines()[-1].split(": ", 1)[1]
    resumed = subprocess.run(
        line, shell=True, capture_output=True, text=True, env=os.environ | {"PATH": "/usr/bin:/bin"}
    )
    assert "step 20: done" in resumed.stdout, resumed.stderr


def test_bad_input_ends_the_process_with_one_line_and_no_folder(tmp_path):
    """In a process of its own."""
    argv = [sys.executable, "-m", "tests.training.toy", "--preset", "papre", "--out", str(tmp_path / "run")]
    result = subprocess.run(argv, capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr == "error: unknown preset 'papre'; did you mean paper? choose from paper, quick\n"
    assert not (tmp_path / "run").exists()


def test_the_studies_are_listed():
    ran = subprocess.run([sys.executable, "-m", "experiments"], capture_output=True, text=True, check=True)
    for name in ("groove", "lpo", "lion_search", "benchmark", "seeds"):
        assert re.search(rf"^  {name} ", ran.stdout, re.MULTILINE)
    assert max(map(len, ran.stdout.splitlines())) <= 80


def test_help_does_not_speak_of_exceptions(capsys):
    with pytest.raises(SystemExit):
        cli.parse(StudyConfig, {"quick": StudyConfig()}, ["--help"])
    assert "Raises" not in capsys.readouterr().out


def documented_studies():
    """Modules of studies with examples in their docstring."""
    folder = Path(__file__).parents[2] / "experiments"
    return sorted(path.stem for path in folder.glob("*.py") if "\nExamples:\n" in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", documented_studies())
def test_examples_parse_and_main_options_exist(name, capsys):
    module = importlib.import_module(f"experiments.{name}")
    call = re.search(r"launch\(main, (\w+), (\w+)\)", inspect.getsource(module))
    config_class, presets = getattr(module, call[1]), getattr(module, call[2])
    commands = re.findall(rf"python -m experiments\.{name}(.*?)  #", cli.examples(module.__doc__))
    assert commands
    other = re.compile("--preset normalised|cartpole" if name == "learned_optimizer" else "$^")  # of other studies
    for command in filter(lambda command: not other.search(command), commands):
        assert isinstance(cli.parse(config_class, presets, command.split()), config_class)
    with pytest.raises(SystemExit):
        cli.parse(config_class, presets, ["--help"])
    page = capsys.readouterr().out
    options = re.findall(r"--[\w.-]+", module.__doc__.partition("Main options:")[2])
    assert 5 <= len(options) <= 10
    assert [option for option in options if option not in page and option != "--preset"] == []


def test_the_list_of_studies_has_a_short_line_for_each():
    listed = studies()
    assert {"groove", "benchmark", "evaluate"} <= listed.keys()
    assert all(0 < len(sentence) <= 58 for sentence in listed.values())
