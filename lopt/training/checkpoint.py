"""Checkpoints that are written atomically and verified by checksums.

`checkpoints/<step>/` holds an orbax folder and `manifest.json`: the run's identity, the versions of the packages that
wrote it, the step, the tree's structure, a SHA-256 sum of every file and one of the manifest. A checkpoint is written
under a temporary name and renamed when it is complete, so that a process that is killed at any time leaves the newest
complete one intact. The state is saved as a flat list of arrays: any registered pytree (flax records, optax
NamedTuples) keeps its types, typed PRNG keys are saved as their data, and of empty arrays, which orbax refuses, the
shape is saved. The state of a loop on the host (`run_on_host`) is saved as text.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

FORMAT = 2
TEXT = "state.txt"
PACKAGES = ("lopt", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class CheckpointError(ValueError):
    """There is no checkpoint from which a run can go on."""


class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        folder: that holds them, made by the first `save`.
        keep: number of checkpoints kept; older ones are deleted.
        identity: hash of the run's configuration, which every checkpoint records; those of another run are refused.
    """

    def __init__(self, folder: str | Path, keep: int = 2, identity: str = ""):
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.identity = identity

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, in ascending order, without incomplete and renamed ones."""
        if not self.folder.is_dir():
            return []
        return sorted(int(p.name) for p in self.folder.iterdir() if p.name.isdigit() and p.is_dir())

    def latest(self) -> int | None:
        """The newest step that has a checkpoint, None without any."""
        steps = self.steps()
        return steps[-1] if steps else None

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint of a pytree of arrays and delete old ones; a step that already has one is skipped."""
        state = jax.tree.map(jnp.asarray, state)
        self._write(step, lambda folder: _save_arrays(folder / "state", state), _signature(state))

    def save_text(self, step: int, text: str) -> None:
        """Write a checkpoint of a state given as text, for `run_on_host`; otherwise as `save`."""
        self._write(step, lambda folder: (folder / TEXT).write_text(text, encoding="utf-8"), [])

    def restore(self, template: Any) -> tuple[int, Any]:
        """The newest intact checkpoint as `(step, state)`, in the structure and sharding of `template`.

        A damaged checkpoint is renamed, with a printed message, and the one before it is used. Packages of other
        versions than those that wrote it are named in a printed message.

        Raises:
            CheckpointError: no checkpoint, no intact one, one of another run, of another format, or of a state with
                another structure.
        """
        template = jax.tree.map(jnp.asarray, template)
        step = self._intact()
        return step, self._read(step, template)

    def restore_text(self) -> tuple[int, str]:
        """The newest intact checkpoint written by `save_text`, as `(step, text)`; damaged ones as in `restore`.

        Raises:
            CheckpointError: as in `restore`, or a checkpoint that `save` wrote.
        """
        step = self._intact()
        path = self._path(step) / TEXT
        if not path.exists():
            raise CheckpointError(
                f"checkpoint of step {step} in {self.folder} belongs to another program: it is no text"
            )
        return step, path.read_text(encoding="utf-8")

    def _write(self, step: int, fill: Callable[[Path], Any], leaves: list[list[Any]]) -> None:
        if self._path(step).exists():
            return
        temporary = self.folder / f"tmp-{step}"
        self.delete_incomplete()
        temporary.mkdir(parents=True)
        try:
            fill(temporary)
            manifest = {
                "format": FORMAT,
                "identity": self.identity,
                "versions": _versions(),
                "step": step,
                "leaves": leaves,
                "files": _sums(temporary),
            }
            text = json.dumps(manifest | {"sha256": _sum_of(manifest)})
            (temporary / "manifest.json").write_text(text, encoding="utf-8")
            os.replace(temporary, self._path(step))
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)  # a full disk gets its space back
            raise
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self._path(old), ignore_errors=True)

    def delete_incomplete(self) -> None:
        """Delete what a process that was killed while it wrote a checkpoint has left."""
        for stale in self.folder.glob("tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)

    def _intact(self) -> int:
        """The newest step with an intact checkpoint of this run; newer damaged ones are renamed."""
        steps = self.steps()
        if not steps:
            raise CheckpointError(f"checkpoint: there is none in {self.folder}; start the run without --resume")
        for step in reversed(steps):
            manifest, damage = _inspect(self._path(step), step)
            if damage is None:
                self._check(step, manifest)
                return step
            self.set_aside(step, "damaged")
            print(f"checkpoint of step {step} is damaged ({damage}) and was set aside; trying the one before it")
        raise CheckpointError(
            f"checkpoint: all {len(steps)} in {self.folder} are damaged (kept as *.damaged); start again "
            "with --overwrite, or with another --out"
        )

    def _check(self, step: int, manifest: dict[str, Any]) -> None:
        """Refuse an intact checkpoint of another format or run; print which versions differ."""
        where = f"checkpoint of step {step} in {self.folder}"
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{where} has format {manifest['format']}, expected {FORMAT}: another version of lopt wrote it; start "
                "again with --overwrite, or with another --out"
            )
        if manifest["identity"] != self.identity:
            raise CheckpointError(
                f"{where} belongs to another run: its configuration has the hash {manifest['identity'] or 'none'}, "
                f"expected {self.identity or 'none'}; start again with --overwrite, or with another --out"
            )
        old, new = manifest["versions"], _versions()
        changed = [f"{name} {old.get(name)} -> {new.get(name)}" for name in new if old.get(name) != new.get(name)]
        if changed:
            print(
                f"{where} was written with other versions ({', '.join(changed)}): what follows may differ from an "
                "uninterrupted run in its last digits",
                flush=True,
            )

    def set_aside(self, step: int, reason: str) -> None:
        """Rename a checkpoint to `<step>.<reason>`: it is kept but never restored."""
        target = self.folder / f"{step}.{reason}"
        shutil.rmtree(target, ignore_errors=True)
        os.replace(self._path(step), target)

    def recorded_identity(self) -> str | None:
        """The identity in the newest checkpoint with a readable manifest; None without any."""
        for step in reversed(self.steps()):
            manifest, damage = _inspect(self._path(step), step)
            if damage is None:
                return manifest.get("identity", "")
        return None

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _read(self, step: int, template: Any) -> Any:
        manifest = json.loads((self._path(step) / "manifest.json").read_text())
        mismatches = _mismatch(manifest["leaves"], _signature(template))
        if mismatches:
            raise CheckpointError(
                f"checkpoint of step {step} in {self.folder} belongs to another program: " + "; ".join(mismatches)
            )
        return _load_arrays(self._path(step) / "state", template)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _signature(state: Any) -> list[list[Any]]:
    """`[path, shape, dtype]` of every leaf, in order."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [[jax.tree_util.keystr(path), list(leaf.shape), str(leaf.dtype)] for path, leaf in leaves]


def _mismatch(saved: list[list[Any]], wanted: list[list[Any]], limit: int = 3) -> list[str]:
    """One line for each difference of two signatures, at most `limit` of each kind."""
    old = {name: f"{dtype}{shape}" for name, shape, dtype in saved}
    new = {name: f"{dtype}{shape}" for name, shape, dtype in wanted}
    missing = [f"{name} is missing from the checkpoint" for name in new.keys() - old.keys()]
    changed = [f"{k} is {old[k]}, expected {new[k]}" for k in old.keys() & new.keys() if old[k] != new[k]]
    surplus = [f"{name} is only in the checkpoint" for name in old.keys() - new.keys()]
    lines = []
    for kind in (missing, changed, surplus):
        lines += sorted(kind)[:limit]
        lines += [f"and {len(kind) - limit} more"] if len(kind) > limit else []
    return lines


def load_orbax() -> None:
    """Import orbax, which takes most of a second; `run` calls it while the step compiles in another thread."""
    from orbax.checkpoint import v1  # noqa: F401


def _arrays(state: Any) -> dict[str, jax.Array]:
    """The leaves that orbax stores, by index: keys as their data, without empty arrays."""
    leaves = [jax.random.key_data(leaf) if _is_key(leaf) else leaf for leaf in jax.tree.leaves(state)]
    return {f"{i:05d}": leaf for i, leaf in enumerate(leaves) if leaf.size}


def _save_arrays(path: Path, state: Any) -> None:
    from orbax.checkpoint import v1 as ocp

    arrays = _arrays(state)
    if arrays:
        ocp.save(path, arrays)


def _load_arrays(path: Path, template: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    wanted = {
        name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        for name, leaf in _arrays(template).items()
    }
    arrays = {}
    if wanted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays = ocp.load(path, wanted)
    leaves, treedef = jax.tree.flatten(template)
    restored = []
    for i, leaf in enumerate(leaves):
        value = arrays.get(f"{i:05d}")
        if value is None:
            value = leaf
        elif _is_key(leaf):
            value = jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
        restored.append(value)
    return jax.tree.unflatten(treedef, restored)


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "manifest.json")
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _sum_of(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


@functools.cache
def _versions() -> dict[str, str]:
    """The versions that results may depend on, Python's among them; "none" for what is not installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "none"
    return found


def _inspect(folder: Path, step: int) -> tuple[dict[str, Any], str | None]:
    """The manifest of a checkpoint, and a description of its damage, None if it is intact.

    Of a checkpoint of another format the manifest's numbers are not checked.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if manifest["format"] != FORMAT and "sha256" not in manifest:
            return manifest, None
        if _sum_of({k: v for k, v in manifest.items() if k != "sha256"}) != manifest["sha256"]:
            return {}, "its manifest has changed"
        expected, saved = manifest["files"], manifest["step"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, "its manifest is missing or unreadable"
    if saved != step:
        return {}, f"it is that of step {saved}"
    found = _sums(folder)
    missing = expected.keys() - found.keys()
    if missing:
        return {}, f"{len(missing)} of its files are missing"
    changed = sum(found[name] != expected[name] for name in expected)
    return manifest, f"{changed} of its files have changed" if changed else None
