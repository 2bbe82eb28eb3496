"""Rule files: exact round trips, readable cards, detection of damaged files, atomic writes."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.rules import Card, Result, Rule, load_rule, save_rule
from tests.reference.cards import edit

CARD = Card("lopt.LPG", {"width": 8, "sizes": [1, 2]}, "python -m experiments.groove", 3, 100, {"iqm": 0.5})


@pytest.fixture
def theta(key):
    return nn.Sequential([nn.Dense(4), nn.Dense(2)]).init(key, jnp.ones(3))["params"]


def test_round_trip_is_exact(tmp_path, theta):
    theta = theta | {"steps": np.int32(7), "flag": np.array(True), "empty": {}, "none": np.zeros((0, 3), np.float32)}
    assert save_rule(tmp_path / "new" / "rule", theta, CARD) == tmp_path / "new" / "rule.json"
    rule = load_rule(tmp_path / "new" / "rule")
    assert isinstance(rule, Rule)
    assert jax.tree.structure(rule.theta) == jax.tree.structure(theta)
    chex.assert_trees_all_equal(rule.theta, theta)
    chex.assert_trees_all_equal_dtypes(rule.theta, theta)
    assert rule.card.lopt_version
    assert dataclasses.replace(rule.card, lopt_version="") == CARD


@pytest.mark.parametrize("theta", [{}, np.arange(3.0), {"a": {"b": {}}}])
def test_round_trip_of_unusual_trees(tmp_path, theta):
    save_rule(tmp_path / "r", theta, CARD)
    loaded = load_rule(tmp_path / "r").theta
    assert jax.tree.structure(loaded) == jax.tree.structure(theta)
    chex.assert_trees_all_equal(loaded, theta)


@pytest.mark.parametrize("name", ["rule", "rule.npz", "rule.json"])
def test_a_path_may_have_either_ending_or_none(tmp_path, name):
    save_rule(tmp_path / name, {"a": np.ones(2)}, CARD)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rule.json", "rule.npz"]
    assert load_rule(str(tmp_path / name)).card.kind == "lopt.LPG"


def test_dots_in_a_name_are_kept(tmp_path):
    save_rule(tmp_path / "lpg-0.1", {"a": np.ones(2)}, CARD)
    assert (tmp_path / "lpg-0.1.npz").exists()
    assert load_rule(tmp_path / "lpg-0.1").theta["a"].sum() == 2


def test_the_card_is_human_readable(tmp_path, theta):
    card = json.loads(save_rule(tmp_path / "rule", theta, CARD).read_text())
    assert card["format"] == "lopt-rule"
    assert card["version"] == 2
    assert card["arrays"]["layers_0/kernel"] == "float32[3, 4]"
    assert card["command"] == "python -m experiments.groove"


def test_results_and_limits_come_back_as_they_were(tmp_path):
    results = (Result("return minus PPO's, 32 seeds", -46.0, -90.5, 2.0), Result("R^2", 0.959))
    card = dataclasses.replace(
        CARD, results=results, limits=("Not better than PPO.",), hours=0.1, agent={"hidden": [8]}
    )
    save_rule(tmp_path / "rule", {}, card)
    assert dataclasses.replace(load_rule(tmp_path / "rule").card, lopt_version="") == card
    assert [str(x) for x in results] == ["-46 [-90.5, 2]", "0.959"]


@pytest.mark.parametrize("version", [1, 2])
def test_version_1_has_no_checksum_of_the_card(saved_rule, version):
    edit(saved_rule.with_suffix(".json"), sign=False, version=version, card_sha256=None)
    if version == 1:
        assert load_rule(saved_rule).card.seed == CARD.seed
    else:
        with pytest.raises(ValueError, match="does not match its checksum"):
            load_rule(saved_rule)


def test_every_flipped_byte_of_a_saved_rule_is_refused(saved_rule):
    """A ValueError that names a file of the rule, whatever byte of either file is flipped."""
    rng = np.random.default_rng(0)
    for path in (saved_rule.with_suffix(".npz"), saved_rule.with_suffix(".json")):
        data = path.read_bytes()
        for place in rng.integers(0, len(data), 200):
            flipped = bytes([data[place] ^ int(rng.integers(1, 256))])
            path.write_bytes(data[:place] + flipped + data[place + 1 :])
            if path.suffix == ".json" and flipped in b" \n\t\r" and data[place : place + 1] in (b" ", b"\n"):
                continue  # white space between tokens carries nothing
            with pytest.raises(ValueError, match=r"rule\.(npz|json)"):
                load_rule(saved_rule)
        path.write_bytes(data)
    load_rule(saved_rule)


def test_an_archive_that_would_fill_the_memory_is_refused(saved_rule, monkeypatch):
    """Before it is decompressed: the size is that of its directory."""
    monkeypatch.setattr("lopt.rules.rule.MAX_BYTES", 2**20)
    npz = saved_rule.with_suffix(".npz")
    np.savez_compressed(npz, a=np.zeros(2**18))
    edit(saved_rule.with_suffix(".json"), sha256=hashlib.sha256(npz.read_bytes()).hexdigest())
    assert npz.stat().st_size < 2**14
    with pytest.raises(ValueError, match="at most 1048576 are read"):
        load_rule(saved_rule)


@pytest.fixture
def saved_rule(tmp_path):
    save_rule(tmp_path / "rule", {"a": np.arange(1000.0)}, CARD)
    return tmp_path / "rule"


def edit_arrays(npz, card, **arrays):
    """Replace the arrays, with new checksums."""
    np.savez(npz, **arrays)
    edit(card, sha256=hashlib.sha256(npz.read_bytes()).hexdigest(), arrays=None)


DAMAGE = {
    "no npz": (lambda npz, card: npz.unlink(), r"rule.npz does not exist.*copy both"),
    "no card": (lambda npz, card: card.unlink(), r"rule.json does not exist.*copy both"),
    "truncated": (lambda npz, card: npz.write_bytes(npz.read_bytes()[:900]), "does not fit its card"),
    "other arrays": (lambda npz, card: np.savez(npz, a=np.ones(3)), "does not fit its card"),
    "truncated card": (lambda npz, card: card.write_text('{"format"'), "is not JSON.*export the rule again"),
    "other JSON": (lambda npz, card: card.write_text("[1]"), "no rule card"),
    "other format": (lambda npz, card: edit(card, format="x"), "no rule card"),
    "newer version": (lambda npz, card: edit(card, version=3), "version 3.*reads versions 1 and 2.*upgrade"),
    "no kind": (lambda npz, card: edit(card, kind=None), "lacks its kind"),
    "no hash": (lambda npz, card: edit(card, sha256=None), "lacks its kind or its sha256"),
    "edited": (lambda npz, card: edit(card, sign=False, seed=4), "rule.json does not match its checksum"),
    "no checksum": (lambda npz, card: edit(card, sign=False, card_sha256=None), "does not match its checksum"),
    "not finite": (lambda npz, card: edit_arrays(npz, card, a=np.array([1.0, np.nan])), "not finite, in a"),
    "an array in an array": (lambda npz, card: edit_arrays(npz, card, **{"a": 1.0, "a/b": 2.0}), "within an array"),
    "other shapes": (lambda npz, card: edit(card, arrays={"a": "float64[3]"}), "other arrays than its card"),
    "no results": (lambda npz, card: edit(card, results=[{"value": 1.0}]), "no valid card"),
    "results of text": (lambda npz, card: edit(card, results=[{"measure": "x", "value": "1"}]), "no valid card"),
    "a number for a map": (lambda npz, card: edit(card, metrics=3), "no valid card"),
    "deep JSON": (lambda npz, card: card.write_text("[" * 100_000), "is not JSON"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_give_clear_errors(saved_rule, name):
    damage, message = DAMAGE[name]
    damage(saved_rule.with_suffix(".npz"), saved_rule.with_suffix(".json"))
    with pytest.raises(ValueError, match=message):
        load_rule(saved_rule)


def test_a_pickle_with_a_valid_hash_is_not_executed(saved_rule):
    npz = saved_rule.with_suffix(".npz")
    with open(npz, "wb") as file:
        np.savez(file, a=np.array([object()], dtype=object))
    edit(saved_rule.with_suffix(".json"), sha256=hashlib.sha256(npz.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="cannot be read"):
        load_rule(saved_rule)


@pytest.mark.parametrize(
    "theta", [{"a/b": np.ones(1)}, {"": np.ones(1)}, {1: np.ones(1)}, {"a": object()}, {"a": "text"}, [np.ones(2)] * 2]
)
def test_invalid_theta_is_an_error_and_writes_nothing(tmp_path, theta):
    if isinstance(theta, list):
        theta = {"a": [np.ones(2), np.ones(3)]}
    with pytest.raises(ValueError):
        save_rule(tmp_path / "r", theta, CARD)
    assert list(tmp_path.iterdir()) == []


def test_invalid_cards_are_errors():
    with pytest.raises(ValueError, match="kind"):
        Card("")
    with pytest.raises(ValueError, match="plain JSON"):
        Card("x", {"f": print})
    with pytest.raises(ValueError, match="plain JSON"):
        Card("x", metrics={"loss": float("nan")})


def test_a_crash_while_saving_keeps_the_old_rule(saved_rule, monkeypatch):
    def crash(*args):
        raise OSError("simulated crash")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        save_rule(saved_rule, {"a": np.zeros(3)}, CARD)
    assert load_rule(saved_rule).theta["a"].shape == (1000,)


def test_reading_needs_no_jax():
    code = (
        "import sys, importlib.util\n"
        "spec = importlib.util.spec_from_file_location('rule', sys.argv[1])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
        "print('jax' in sys.modules)"
    )
    import lopt.rules.rule

    process = subprocess.run([sys.executable, "-c", code, lopt.rules.rule.__file__], capture_output=True, text=True)
    assert process.stdout.strip() == "False"
