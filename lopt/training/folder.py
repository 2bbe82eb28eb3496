"""The folder of a run: its record, lock and files, which are written atomically; it is never emptied without
`--overwrite`.
"""

import importlib.metadata
import json
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from lopt.training.checkpoint import Checkpoints
from lopt.training.run_config import differences, fingerprint, identity, run_config, to_json
from lopt.training.stopping import resume_line, runnable

FORMAT = "lopt-run-1"


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, locked for this process.

    Attributes:
        path: of the folder.
        resumed: whether an earlier run continues.
        command: the shell command that started the run.
        lock: the open lock file; None where there are no file locks.
    """

    path: Path
    resumed: bool
    command: str = ""
    lock: IO | None = field(default=None, repr=False, compare=False)

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints, in `checkpoints/`."""
        return Checkpoints(self.path / "checkpoints")

    def file(self, name: str) -> Path:
        """The path of a file in the folder; its parent folder is created."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def close(self) -> None:
        """Release the lock, as the end of the process does."""
        if self.lock is not None:
            self.lock.close()


def open_folder(config: Any, command: str, *, checkpointed: bool = True) -> RunFolder:
    """Create or reopen the folder `config.run.out`, lock it and write `config.json`.

    Args:
        config: the study's configuration, with a field of type `RunConfig`.
        command: the shell command that started the run.
        checkpointed: whether a run can be resumed from its checkpoints alone; False for one that finds its own files.

    Raises:
        ValueError: the folder cannot be written, is in use by another process, holds a run (without
            `--resume` or `--overwrite`), holds the run of another configuration, holds other files than
            a run's, or has nothing to resume.
    """
    run = run_config(config)
    path = Path(run.out).expanduser()
    if run.resume:
        record = _record(path)
        if record is None:
            raise ValueError(f"--resume: {path} holds no run; start one without --resume")
        _check_same(path, record, config)
    _make_writable(path)
    first = not (path / ".lock").exists()
    lock = _lock(path)
    try:
        if run.resume:
            if checkpointed and Checkpoints(path / "checkpoints").latest() is None:
                raise ValueError(f"--resume: {path} has no checkpoint yet; start again without --resume")
        else:
            _make_room(path, run.overwrite, config, command)
            write_json(path / "config.json", _new_record(config, command))
    except BaseException:
        if lock is not None:
            if first:  # a refused folder is left unchanged
                (path / ".lock").unlink(missing_ok=True)
            lock.close()
        raise
    return RunFolder(path, run.resume, command, lock)


def recorded_identity(path: Path) -> dict[str, Any] | None:
    """The identity of the run that a folder holds; None where there is no run."""
    record = _record(path)
    return None if record is None else record["config"]


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: another process reads the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON data atomically, indented."""
    write_text(path, json.dumps(data, indent=2, allow_nan=False) + "\n")


def _new_record(config: Any, command: str) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("lopt", "jax", "flax", "optax")}
    return {
        "format": FORMAT,
        "fingerprint": fingerprint(config),
        "command": command,
        "versions": versions,
        "config": identity(config),
        "run": {k: v for k, v in to_json(run_config(config)).items() if k not in ("kind", "seed")},
    }


def _record(path: Path) -> dict[str, Any] | None:
    """The `config.json` of the run in a folder, None without a run."""
    try:
        record = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("format") == FORMAT else None


def _check_same(path: Path, record: dict[str, Any], config: Any) -> None:
    if record["fingerprint"] == fingerprint(config):
        return
    lines = differences(record["config"], json.loads(json.dumps(identity(config)))) or ["the fingerprint"]
    raise ValueError(
        f"--resume: {path} holds the run of another configuration; it differs in\n  "
        + "\n  ".join(lines)
        + "\ngive the options of that run, or another --out"
    )


def _make_writable(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ValueError(f"out: cannot write to {path} ({error.strerror}); choose another --out") from error


def _lock(path: Path) -> IO | None:
    """Lock the folder for this process, on systems that have file locks."""
    try:
        import fcntl
    except ImportError:
        return None
    file = open(path / ".lock", "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise ValueError(f"out: another process is running in {path}; wait for it or choose another --out") from error
    return file


def _make_room(path: Path, overwrite: bool, config: Any, command: str) -> None:
    """Delete everything in the folder but the lock, or raise."""
    content = [p for p in path.iterdir() if p.name != ".lock"]
    record = _record(path)
    if not content or (record is not None and len(content) == 1):
        return  # a config.json alone is a run without a step
    if record is None:
        raise ValueError(f"out: {path} is not empty and holds no run (no config.json of ours); choose another --out")
    if not overwrite:
        same = record["fingerprint"] == fingerprint(config)
        resume = resume_line(command) if same else f"{resume_line(record['command'])}   (its own configuration)"
        raise ValueError(
            f"out: {path} already holds a run; resume it, or delete it and start again:\n"
            f"  {resume}\n  {runnable(command)} --overwrite"
        )
    if Path.cwd().resolve().is_relative_to(path.resolve()):
        raise ValueError(f"--overwrite: {path} contains the current folder; choose another --out")
    for entry in content:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            os.unlink(entry)
