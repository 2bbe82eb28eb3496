"""The rules that come with lopt: what every one of them satisfies, and the list and cards by which they are found."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.rules import LoadedDrift, LoadedObjective, LoadedOptimizer, load_rule, probe, registry, save_rule
from lopt.rules.ship import check_complete, ship
from lopt.types import Progress
from tests.reference.cards import edit

NAMES = lopt.list_rules().names
TYPES = {
    "optimizer": LoadedOptimizer,
    "program": LoadedOptimizer,
    "drift": LoadedDrift,
    "objective": LoadedObjective,
    "in-context learner": lopt.incontext.Classifier,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_rule_has_a_complete_card_and_loads_as_its_kind(name):
    entry = next(entry for entry in lopt.list_rules() if entry.name == name)
    card = lopt.rules.card(name)
    check_complete(card)
    assert load_rule(registry.SHIPPED / name).card == card
    assert isinstance(lopt.load(name), TYPES[entry.kind])
    assert name == name.lower() and entry.purpose == card.purpose and entry.headline
    assert card.licence == "Apache-2.0" and len(card.checksum) == 64
    assert json.loads((registry.SHIPPED / f"{name}.json").read_text())["version"] == 2


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_rule_computes_what_it_computed_where_it_was_shipped(name):
    # outputs of order one after chains of up to a hundred float32 operations, on another processor
    np.testing.assert_allclose(probe(lopt.load(name)), lopt.rules.card(name).golden, rtol=1e-3, atol=1e-4)


def test_shipped_files_are_pairs_and_small():
    files = sorted(registry.SHIPPED.iterdir())
    assert sorted(path.name for path in files) == sorted(f"{name}{end}" for name in NAMES for end in (".json", ".npz"))
    assert sum(path.stat().st_size for path in files) < 2_000_000
    assert {entry.kind for entry in lopt.list_rules()} >= {"optimizer", "program", "in-context learner"}


def test_the_list_is_a_table_in_a_terminal_and_in_a_notebook():
    rules = lopt.list_rules()
    text = repr(rules)
    assert str(rules) == text and len(rules) == len(NAMES)
    assert max(map(len, text.splitlines())) <= max(100, shutil.get_terminal_size().columns)
    table = rules._repr_html_()
    assert table.count("<tr>") == len(NAMES) + 1 and table.startswith("<table>")
    for entry in rules:
        assert entry.name in text and f"<td>{entry.name}</td>" in table


def test_a_card_is_text_that_says_its_limits_first():
    for name in NAMES:
        card = lopt.rules.card(name)
        text = str(card)
        assert text.index(card.purpose) < text.index("Limits:") < text.index("Results") < text.index(card.checksum)
        assert card.limits[0] in text and card._repr_html_().startswith("<pre")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the shipped rules as the registry's folder."""
    shutil.copytree(registry.SHIPPED, tmp_path / "shipped")
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "shipped"


def test_unknown_names_list_near_matches(folder):
    with pytest.raises(ValueError, match="no shipped rule 'gpicl' .*did you mean gpicl-digits.*npz or .json"):
        lopt.load("gpicl")
    with pytest.raises(ValueError, match="did you mean open-cartpole"):
        lopt.rules.card("open-cartpol")
    with pytest.raises(ValueError, match="did you mean 'open-cartpole'"):
        lopt.rules.card("open-cardpole")
    with pytest.raises(ValueError, match="runs/none.json does not exist"):
        lopt.load("runs/none")


def test_a_rule_is_registered_by_its_two_files(folder, tmp_path):
    assert "another" not in lopt.list_rules().names
    lopt.rules.save_program(tmp_path / "rule", lopt.search.parse("def train(w, g, lr): return g * lr"))
    fields = {name: getattr(lopt.rules.card("lion-search-digits"), name) for name in ("purpose", "results", "limits")}
    fields |= {"status": "a test", "trained_on": "nothing", "commit": "none", "hours": 0.0, "hardware": "none"}
    with pytest.raises(ValueError, match="must have licence$"):
        ship(tmp_path / "rule", folder / "another", **fields)
    with pytest.raises(ValueError, match="a card has no colour"):
        ship(tmp_path / "rule", folder / "another", **fields, colour="red")
    ship(tmp_path / "rule", folder / "another", **fields, licence="Apache-2.0")
    assert "another" in lopt.list_rules().names
    assert isinstance(lopt.load("another"), LoadedOptimizer)


@pytest.mark.parametrize("ending", [".npz", ".json"])
def test_a_shipped_file_that_is_damaged_is_refused_by_name(folder, ending):
    path = folder / f"gpicl-digits{ending}"
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], data[:200] + b"7" + data[201:], b""):
        if damaged != data:
            path.write_bytes(damaged)
            with pytest.raises(ValueError, match=f"gpicl-digits{ending}"):
                lopt.load("gpicl-digits")
    with pytest.raises(ValueError, match="gpicl-digits"):
        lopt.list_rules()


def test_arrays_that_do_not_fit_the_rule_are_refused_by_name(folder):
    rule = load_rule(folder / "adafactor-mlp-digits")
    del rule.theta["net"]["layers_2"]["bias"]
    save_rule(folder / "adafactor-mlp-digits", rule.theta, rule.card)
    with pytest.raises(ValueError, match="adafactor-mlp-digits: .*theta must be that of this architecture"):
        lopt.load("adafactor-mlp-digits")
    classifier = load_rule(folder / "gpicl-digits")
    classifier.theta["position"] = classifier.theta["position"].T
    save_rule(folder / "gpicl-digits", classifier.theta, classifier.card)
    with pytest.raises(ValueError, match=r"gpicl-digits: .*position.* must have the shape"):
        lopt.load("gpicl-digits")


def test_a_card_of_an_unknown_class_is_refused_by_name(folder):
    edit(folder / "open-cartpole.json", kind="lopt.optimizers.Tiger")
    with pytest.raises(ValueError, match="open-cartpole: .*no 'lopt.optimizers.Tiger'"):
        lopt.load("open-cartpole")


def test_a_program_takes_a_schedule_and_a_network_of_fixed_steps_does_not():
    params = {"w": jnp.ones((2, 2))}
    gradients = {"w": jnp.full((2, 2), 0.1)}
    schedule = optax.linear_schedule(0.5, 0.0, 10)
    tx, constant = (lopt.load("lion-search-digits", learning_rate=rate) for rate in (schedule, 0.5))
    first, _ = jax.jit(tx.update)(gradients, tx.init(params), params)
    same, _ = jax.jit(constant.update)(gradients, constant.init(params), params)
    np.testing.assert_allclose(first["w"], same["w"], rtol=1e-6)
    assert (first["w"] < 0).all()  # it descends
    for name in ("adafactor-mlp-digits", "gpicl-digits"):
        with pytest.raises(ValueError, match=f"{name}: .*learning.rate"):
            lopt.load(name, learning_rate=0.1)


def test_a_loaded_optimizer_is_used_like_one_of_optax():
    params = {"w": jnp.ones((3, 2)), "b": jnp.ones(2)}
    tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.load("adafactor-mlp-digits"))

    def loss(params):
        return sum((x**2).mean() for x in jax.tree.leaves(params))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    after, state = params, tx.init(params)
    for _ in range(50):
        after, state = step(after, state)
    assert loss(after) < 0.5 * loss(params)


def drifts():
    return [entry.name for entry in lopt.list_rules() if entry.kind == "drift"]


@pytest.mark.parametrize("name", drifts())
def test_a_shipped_drift_goes_into_a_ppo_loss(name):
    drift = lopt.load(name)
    log_prob, old, advantage = jnp.array([-1.0, -0.5]), jnp.array([-1.1, -0.7]), jnp.array([0.3, -0.2])
    progress = Progress(step=jnp.int32(3), num_updates=jnp.int32(10))
    loss = lopt.ppo_loss(log_prob, old, advantage, drift, progress=progress)
    ratio = jnp.exp(log_prob - old)
    expected = -(ratio * advantage - drift(log_prob - old, advantage, progress)).mean()
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    if drift.time_aware:
        with pytest.raises(ValueError, match="needs the learner's progress"):
            lopt.ppo_loss(log_prob, old, advantage, drift)
