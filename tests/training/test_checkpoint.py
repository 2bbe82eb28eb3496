"""Checkpoints: exact round trips, detection of damage, and a process killed while saving."""

import errno
import shutil
import subprocess
import sys
import time
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from lopt.training import checkpoint
from lopt.training.checkpoint import CheckpointError, Checkpoints


class Record(struct.PyTreeNode):
    """A state with typed keys, empty arrays, bfloat16, None and optax's NamedTuples."""

    theta: dict
    opt_state: tuple
    keys: jax.Array
    empty: jax.Array
    flag: jax.Array
    half: jax.Array
    nothing: None = None


def record(scale: float, width: int = 3) -> Record:
    theta = {"a/b": jnp.full((width, 2), scale), "c": {"d": jnp.float32(scale)}}
    tx = optax.chain(optax.clip(1.0), optax.adam(optax.linear_schedule(0.1, 0.0, 10)))
    keys = jax.random.split(jax.random.key(int(scale)), 4)
    nonfinite = jnp.array([jnp.nan, -jnp.inf, scale], jnp.bfloat16)
    return Record(theta, tx.init(theta), keys, jnp.zeros((0, 5)), jnp.array(True), nonfinite)


def data(tree):
    def key_data(leaf):
        return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf

    return jax.tree.map(key_data, tree)


def test_round_trip_keeps_types_and_bits(tmp_path):
    checkpoints = Checkpoints(tmp_path / "c")
    assert checkpoints.latest() is None
    checkpoints.save(7, record(2.0))
    step, state = checkpoints.restore(record(0.0))
    assert step == checkpoints.latest() == 7
    chex.assert_trees_all_equal(data(state), data(record(2.0)))
    assert jax.tree.structure(state) == jax.tree.structure(record(0.0))
    assert [x.dtype for x in jax.tree.leaves(state)] == [x.dtype for x in jax.tree.leaves(record(0.0))]
    assert state.half.dtype == jnp.bfloat16


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_key_kinds(tmp_path, impl):
    key = jax.random.key(3, impl=impl)
    Checkpoints(tmp_path).save(1, {"key": key})
    _, state = Checkpoints(tmp_path).restore({"key": jax.random.key(0, impl=impl)})
    assert state["key"].dtype == key.dtype
    np.testing.assert_array_equal(jax.random.bits(state["key"], (4,)), jax.random.bits(key, (4,)))


def test_keeps_the_last_two_and_saves_a_step_once(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (0, 5, 10, 15):
        checkpoints.save(step, {"x": jnp.float32(step)})
    checkpoints.save(15, {"x": jnp.float32(-1)})
    assert checkpoints.steps() == [10, 15]
    assert checkpoints.restore({"x": jnp.float32(0)}) == (15, {"x": jnp.float32(15)})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "15"]


def largest(folder: Path) -> Path:
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def truncate(folder: Path) -> None:
    path = largest(folder / "state")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(folder: Path) -> None:
    path = largest(folder / "state")
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def copy_over(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


DAMAGE = {
    "truncated": truncate,
    "one bit": flip,
    "file deleted": lambda folder: largest(folder / "state").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"format": 1, "fil'),
    "empty manifest": lambda folder: (folder / "manifest.json").write_text(""),
    "a manifest that is no object": lambda folder: (folder / "manifest.json").write_text("[1]"),
    "another step under its name": lambda folder: copy_over(folder.parent / "1", folder),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_skipped(tmp_path, name, capsys):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.arange(1000.0) + step})
    DAMAGE[name](tmp_path / "2")
    step, state = checkpoints.restore({"x": jnp.zeros(1000)})
    assert step == 1
    assert float(state["x"][0]) == 1.0
    assert "checkpoint of step 2 is damaged" in capsys.readouterr().out
    assert (tmp_path / "2.damaged").is_dir(), "kept, not deleted"
    checkpoints.save(2, {"x": jnp.zeros(1000)})
    assert checkpoints.restore({"x": jnp.ones(1000)})[0] == 2


def test_every_flip_of_a_bit_in_a_manifest_is_damage(tmp_path):
    """Of 200 bits, none is read as another configuration, step or structure."""
    checkpoints = Checkpoints(tmp_path, identity="abc")
    checkpoints.save_text(1, "one")
    checkpoints.save_text(2, "two")
    path = tmp_path / "2" / "manifest.json"
    intact = path.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(intact), 200, replace=False):
        body = bytearray(intact)
        body[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(body)
        assert checkpoints.restore_text() == (1, "one"), bit
        (tmp_path / "2.damaged").rename(tmp_path / "2")
    path.write_bytes(intact)
    assert checkpoints.restore_text() == (2, "two")


def test_a_checkpoint_of_another_run_is_refused_with_both_hashes(tmp_path):
    Checkpoints(tmp_path, identity="of seed 0").save(1, {"x": jnp.zeros(1)})
    with pytest.raises(CheckpointError, match=r"another run.*hash of seed 0, expected of seed 3"):
        Checkpoints(tmp_path, identity="of seed 3").restore({"x": jnp.zeros(1)})
    assert Checkpoints(tmp_path).steps() == [1] and Checkpoints(tmp_path).recorded_identity() == "of seed 0"


def test_a_checkpoint_of_another_format_is_refused_and_kept(tmp_path):
    Checkpoints(tmp_path).save_text(1, "x")
    (tmp_path / "1" / "manifest.json").write_text('{"format": 1, "files": {}}')
    with pytest.raises(CheckpointError, match=r"has format 1, expected 2"):
        Checkpoints(tmp_path).restore_text()
    assert Checkpoints(tmp_path).steps() == [1]


def test_versions_that_differ_are_named(tmp_path, capsys, monkeypatch):
    Checkpoints(tmp_path).save_text(1, "x")
    Checkpoints(tmp_path).restore_text()
    assert capsys.readouterr().out == ""
    now = checkpoint._versions()
    monkeypatch.setattr(checkpoint, "_versions", lambda: now | {"jax": "99.0"})
    assert Checkpoints(tmp_path).restore_text() == (1, "x")
    assert f"(jax {now['jax']} -> 99.0)" in capsys.readouterr().out


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_it(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.zeros(1)})

    def full(path, state):
        path.mkdir()
        (path / "part").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_save_arrays", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(2, {"x": jnp.zeros(1)})
    assert [p.name for p in tmp_path.iterdir()] == ["1"]


def test_all_damaged_or_none(tmp_path, capsys):
    with pytest.raises(ValueError, match="there is none"):
        Checkpoints(tmp_path / "empty").restore({"x": jnp.zeros(1)})
    Checkpoints(tmp_path).save(1, {"x": jnp.zeros(100)})
    truncate(tmp_path / "1")
    with pytest.raises(ValueError, match="all 1 in .* are damaged"):
        Checkpoints(tmp_path).restore({"x": jnp.zeros(100)})


def test_a_checkpoint_of_another_state_is_refused_with_the_differences(tmp_path):
    Checkpoints(tmp_path).save(1, record(1.0))
    with pytest.raises(ValueError, match=r"a/b.*float32\[3, 2\], expected float32\[4, 2\]"):
        Checkpoints(tmp_path).restore(record(1.0, width=4))
    with pytest.raises(ValueError, match=r"\['x'\] is missing.*; \.empty is only in the checkpoint.*and \d+ more"):
        Checkpoints(tmp_path).restore({"x": jnp.zeros(1)})
    assert Checkpoints(tmp_path).latest() == 1


WRITER = """
import os, signal, sys
import jax.numpy as jnp
from lopt.training.checkpoint import Checkpoints

folder, kill_before_rename = sys.argv[1], sys.argv[2] == "rename"
rename = os.replace
for step in range(1, 1000):
    if kill_before_rename and step == 3:
        os.replace = lambda a, b: os.kill(os.getpid(), signal.SIGKILL) if b.name == "3" else rename(a, b)
    Checkpoints(folder).save(step, {"x": jnp.full((300_000,), step, jnp.float32)})
    print(step, flush=True)
"""


@pytest.mark.parametrize("when", ["rename", "any time"])
def test_sigkill_keeps_the_previous_checkpoint(tmp_path, when):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), when], stdout=subprocess.PIPE, text=True)
    last = 0
    for line in process.stdout:
        last = int(line)
        if when == "any time" and last == 4:
            time.sleep(0.03)
            process.kill()
    assert process.wait() == -9
    step, state = Checkpoints(tmp_path).restore({"x": jnp.zeros(300_000)})
    assert step >= last >= 2
    np.testing.assert_array_equal(state["x"], step)
    Checkpoints(tmp_path).save(step + 1, state)
    assert not list(tmp_path.glob("tmp-*")), "temporary folders of the killed process are deleted"
