"""The folder of a run: its record, lock and files, which are written atomically; it is never emptied without
`--overwrite`.
"""

import importlib.metadata
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
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
        record: the content of `config.json`.
        lock: the open lock file; None where there are no file locks.
    """

    path: Path
    resumed: bool
    command: str = ""
    record: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    lock: IO | None = field(default=None, repr=False, compare=False)

    @property
    def checkpoints(self) -> Checkpoints:
        """The run's checkpoints, in `checkpoints/`."""
        return Checkpoints(self.path / "checkpoints", identity=self.record.get("fingerprint", ""))

    @property
    def lost(self) -> bool:
        """Whether the folder was deleted, moved or replaced since it was opened."""
        if self.lock is None:
            return not self.path.is_dir()
        try:
            there = os.stat(self.path / ".lock")
        except OSError:
            return True
        return not os.path.samestat(there, os.fstat(self.lock.fileno()))

    def rescue(self, save: Callable[[Checkpoints], None]) -> Path:
        """Write a run folder beside a lost one, with a checkpoint by `save`, from which the run can be resumed."""
        taken = (self.path.with_name(f"{self.path.name}.rescued-{i}") for i in itertools.count(1))
        path = next(path for path in taken if not path.exists())
        path.mkdir(parents=True)
        write_json(path / "config.json", self.record)
        save(replace(self, path=path).checkpoints)
        return path

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

    A run that was killed before its first complete checkpoint starts at the beginning, with and without `--resume`.
    Where `config.json` cannot be read, a run is known by its checkpoints, and the file is written again.
    """
    run = run_config(config)
    path = Path(run.out).expanduser()
    record = _record(path)
    if run.resume:
        _check_same(path, record, config)
    _make_writable(path)
    first = not (path / ".lock").exists()
    lock = _lock(path)
    try:
        resumed = run.resume and (not checkpointed or Checkpoints(path / "checkpoints").latest() is not None)
        if run.resume and not resumed:
            print(f"{path} holds no complete checkpoint yet: the run starts at the beginning", flush=True)
        if not resumed:
            _make_room(path, run.overwrite, config, command)
        if not resumed or record is None:
            record = _new_record(config, command)
            write_json(path / "config.json", record)
    except BaseException:
        if lock is not None:
            if first:  # a refused folder is left unchanged
                (path / ".lock").unlink(missing_ok=True)
            lock.close()
        raise
    return RunFolder(path, resumed, command, record or {}, lock)


def recorded_identity(path: Path) -> dict[str, Any] | None:
    """The identity of the run that a folder holds; None where there is no run."""
    record = _record(path)
    return None if record is None else record["config"]


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: another process reads the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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


def _check_same(path: Path, record: dict[str, Any] | None, config: Any) -> None:
    """Check that a folder holds the run of this configuration, to resume it."""
    ours = fingerprint(config)
    if record is None:
        recorded = Checkpoints(path / "checkpoints").recorded_identity()
        if recorded is None:
            raise ValueError(f"--resume: {path} holds no run; start one without --resume")
        if recorded != ours:
            raise ValueError(
                f"--resume: {path}/config.json cannot be read, and the checkpoints belong to another configuration "
                f"(hash {recorded}, expected {ours}); give the options of that run, or another --out"
            )
        return
    if record["fingerprint"] == ours:
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
    if not content:
        return
    if record is None:
        known = Checkpoints(path / "checkpoints").recorded_identity() is not None
        if not known:
            raise ValueError(
                f"out: {path} is not empty and holds no run (no config.json of ours); choose another --out"
            )
        if not overwrite:
            raise ValueError(
                f"out: {path} holds a run whose config.json cannot be read; resume it with its own options, or delete "
                f"it and start again:\n  {resume_line(command)}\n  {runnable(command)} --overwrite"
            )
    elif not overwrite:
        if _has_no_step(path, content):
            return _delete(content)
        same = record["fingerprint"] == fingerprint(config)
        resume = resume_line(command) if same else f"{resume_line(record['command'])}   (its own configuration)"
        raise ValueError(
            f"out: {path} already holds a run; resume it, or delete it and start again:\n"
            f"  {resume}\n  {runnable(command)} --overwrite"
        )
    if Path.cwd().resolve().is_relative_to(path.resolve()):
        raise ValueError(f"--overwrite: {path} contains the current folder; choose another --out")
    _delete(content)


def _has_no_step(path: Path, content: list[Path]) -> bool:
    """Whether a run was killed before its first complete checkpoint, and left nothing else."""
    begun = {"config.json", "metrics.jsonl", "checkpoints"}
    names = {entry.name for entry in content if not (entry.name.startswith(".") and entry.name.endswith(".tmp"))}
    folder = path / "checkpoints"
    return names <= begun and all(p.name.startswith("tmp-") for p in (folder.iterdir() if folder.is_dir() else ()))


def _delete(entries: list[Path]) -> None:
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            os.unlink(entry)
