"""Rule files: round trips through a card, and loading them as optax transformations, drifts and programs."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt import objectives, optimizers, search
from lopt.nets import ReverseLSTM
from lopt.optimizers import NormalisedRule
from lopt.rules import Card, card_of, load, load_rule, rebuild, registry, save_program, save_rule
from lopt.rules.load import NAME
from lopt.types import Progress
from tests.reference.ulps import assert_ulps

PARTS = {
    "sizes": optimizers.AdafactorRule(hidden=(8,), step_size=0.01),
    "nested": objectives.TALPO(hidden=4, base_drift=objectives.Clip(0.1)),
    "no base drift": objectives.LPO(hidden=4),
    "a class": objectives.LPG(
        hidden=4, recurrence=ReverseLSTM, conditioning=objectives.FractionAndLogNumUpdates(100.0)
    ),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_round_trip_of_an_object_through_card_and_file(part, tmp_path, key):
    theta = part.init(key)
    save_rule(tmp_path / "rule", theta, card_of(part, seed=3, notes="kept"))
    rule = load_rule(tmp_path / "rule")
    assert rebuild(rule.card) == part
    assert (rule.card.seed, rule.card.notes) == (3, "kept")
    chex.assert_trees_all_equal(rule.theta, theta)


def test_kinds_are_the_public_names():
    card = card_of(PARTS["a class"])
    assert card.kind == "lopt.objectives.LPG"
    assert card.config["recurrence"] == {"kind": "lopt.nets.ReverseLSTM"}
    assert card.config["conditioning"]["kind"] == "lopt.objectives.FractionAndLogNumUpdates"


def test_a_learned_optimizer_in_a_chain(tmp_path, key):
    rule = PARTS["sizes"]
    theta = rule.init(key)
    save_rule(tmp_path / "rule", theta, card_of(rule))
    params = {"w": jnp.ones((3, 2))}
    loaded = optax.chain(optax.clip_by_global_norm(1.0), lopt.load(tmp_path / "rule"))
    same = optax.chain(optax.clip_by_global_norm(1.0), rule.as_optax(theta))
    updates, _ = jax.jit(loaded.update)(params, loaded.init(params), params)
    expected, _ = jax.jit(same.update)(params, same.init(params), params)
    assert_ulps(updates, expected, ulps=100)  # three sums of some thirty terms
    assert np.any(updates["w"])


def test_a_drift_in_a_loss(tmp_path, key):
    drift = PARTS["nested"]
    theta = drift.init(key)
    save_rule(tmp_path / "rule", theta, card_of(drift))
    ratio, advantage = jnp.linspace(-1, 1, 7), jnp.linspace(2, -2, 7)
    loaded, progress = load(tmp_path / "rule"), Progress(step=jnp.int32(3), num_updates=jnp.int32(4))
    loss = lopt.ppo_loss(ratio, jnp.zeros(7), advantage, loaded, progress=progress)
    expected = lopt.ppo_loss(ratio, jnp.zeros(7), advantage, lopt.bind_drift(drift, theta, progress))
    chex.assert_trees_all_close(loss, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="LPO: this drift depends on time"):
        loaded(ratio, advantage)


def test_a_drift_that_is_a_program(tmp_path):
    drift = search.ProgramDrift(search.parse("def drift(r, A, t): return square(r - 1.0) * max(A, 0.1) * t"))
    card = card_of(drift)
    assert card.config["program"]["config"] == {"program": drift.program.text(), "num_inputs": 2}
    save_rule(tmp_path / "rule", {}, card)
    assert rebuild(load_rule(tmp_path / "rule").card) == drift
    ratio, advantage = jnp.linspace(-1, 1, 7), jnp.linspace(2, -2, 7)
    loaded, progress = load(tmp_path / "rule"), Progress(step=jnp.int32(3), num_updates=jnp.int32(4))
    expected = np.expm1(ratio) ** 2 * np.maximum(advantage, 0.1) * 0.75
    np.testing.assert_allclose(loaded(ratio, advantage, progress), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="ProgramDrift: this drift depends on time"):
        loaded(ratio, advantage)


def test_a_drift_that_does_not_depend_on_time_needs_no_progress(tmp_path, key):
    drift, arrays = PARTS["no base drift"], (jnp.linspace(-1, 1, 7), jnp.linspace(2, -2, 7))
    theta = drift.init(key)
    save_rule(tmp_path / "rule", theta, card_of(drift))
    progress = Progress(step=jnp.int32(3), num_updates=jnp.int32(4))
    expected = lopt.bind_drift(drift, theta, progress)(*arrays)
    for extra_args in ((), (progress,)):
        chex.assert_trees_all_close(load(tmp_path / "rule")(*arrays, *extra_args), expected, rtol=1e-6)


@pytest.mark.parametrize("theta", [(), {}])
def test_a_rule_without_meta_parameters(tmp_path, theta):
    save_rule(tmp_path / "rule", theta, card_of(objectives.DPO()))
    arrays = jnp.linspace(-1, 1, 7), jnp.linspace(2, -2, 7)
    chex.assert_trees_all_close(load(tmp_path / "rule")(*arrays), lopt.dpo_drift()(*arrays), rtol=1e-6)


def test_a_program_in_a_chain(tmp_path):
    program = search.parse("def train(w, g, lr):\n    u = sign(g) * 0.5\n    u = u * lr\n    return u")
    save_program(tmp_path / "rule", program)
    params = {"w": jnp.array([1.0, 2.0])}
    tx = optax.chain(load(tmp_path / "rule"), optax.scale(2.0))
    updates, _ = tx.update({"w": jnp.array([3.0, -4.0])}, tx.init(params), params)
    np.testing.assert_array_equal(updates["w"], [-1.0, 1.0])


def test_an_objective_has_its_parts_for_a_loop_of_ones_own(tmp_path, key):
    part = PARTS["a class"]
    theta = part.init(key)
    save_rule(tmp_path / "rule", theta, card_of(part, agent={"policy_rate": 320.0}))
    loaded = load(tmp_path / "rule")
    assert loaded.rule == part and loaded.agent == {"policy_rate": 320.0}
    chex.assert_trees_all_equal(loaded.theta, theta)
    chex.assert_trees_all_equal(loaded.init(key), theta)


def test_theta_of_another_architecture_is_an_error(tmp_path, key):
    save_rule(tmp_path / "rule", optimizers.MLPRule().init(key), card_of(PARTS["sizes"]))
    with pytest.raises(ValueError, match="theta must be that of this architecture"):
        load(tmp_path / "rule")


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        (
            "lopt.objectives.LPO",
            {"hidden": 4, "floor": {"kind": "lopt.objectives.Clip", "config": {"epsilon": 0.1}}},
            objectives.LPO(hidden=4, base_drift=objectives.Clip(0.1)),
        ),
        (
            "lopt.objectives.LPO",
            {"hidden": 4, "floor": None, "conditioning": {"kind": "lopt.objectives.Fraction", "config": {}}},
            objectives.TALPO(hidden=4),
        ),
        (
            "lopt.objectives.HeldTime",
            {"conditioning": {"kind": "lopt.objectives.Fraction", "config": {}}, "fraction": 0.5},
            objectives.FrozenProgress(objectives.Fraction(), 0.5),
        ),
    ],
)
def test_cards_with_former_names_are_read(kind, config, expected):
    assert rebuild(Card(kind=kind, config=config)) == expected


@pytest.mark.parametrize(
    ("kind", "config", "message"),
    [
        ("os.system", {}, "there is no imported dataclass 'os.system'"),
        ("lopt.objectives.Tiger", {}, "this lopt has no 'lopt.objectives.Tiger'"),
        ("lopt.objectives.lion", {}, "this lopt has no"),
        ("lopt.nowhere.LPO", {}, "this lopt has no"),
        ("lopt.objectives.LPO", {"stripes": 3}, "LPO has no stripes .it has base_drift, conditioning"),
        ("lopt.objectives.LPO", {"hidden": 0}, "hidden must be at least 1"),
        (
            "lopt.objectives.LPO",
            {"base_drift": {"kind": "subprocess.Popen", "config": {}}},
            "no imported dataclass 'subprocess.Popen'",
        ),
        ("lopt.nets.ReverseLSTM", {"width": 3}, "ReverseLSTM has no"),
        ("lopt.search.ProgramDrift", {}, "ProgramDrift cannot be built from its configuration .*'program'"),
        ("lopt.objectives.LPO", {"hidden": "4"}, "LPO cannot be built from its configuration"),
        ("lopt.objectives.LPO", {"base_drift": {"kind": 3, "config": {}}}, "the name of a class and its arguments"),
        ("lopt.search.ProgramDrift", {"program": {"kind": "lopt.search.Program", "config": {}}}, "program, line 1"),
    ],
)
def test_invalid_cards_are_errors(kind, config, message):
    with pytest.raises(ValueError, match=message):
        rebuild(Card(kind, json.loads(json.dumps(config))))


@pytest.mark.parametrize("part", [3, {"a": 1}, objectives.LPG(recurrence=lambda width: None), optax.adam(1e-3)])
def test_objects_that_are_not_convertible_are_errors(part):
    with pytest.raises(ValueError, match="a dataclass|plain data"):
        card_of(part)


rng = np.random.default_rng(0)
PARAMS = {"w": jnp.array(rng.normal(size=(4, 3)), jnp.float32), "b": jnp.array(rng.normal(size=3), jnp.float32)}
GRADIENTS = [jax.tree.map(lambda p: jnp.array(rng.normal(size=p.shape), p.dtype), PARAMS) for _ in range(3)]


def run(tx):
    @jax.jit
    def steps(params, gradients):
        state = tx.init(params)
        for g in gradients:
            updates, state = tx.update(g, state, params)
            params = optax.apply_updates(params, updates)
        return params

    return steps(PARAMS, GRADIENTS)


def test_the_shipped_rule_is_a_trained_normalised_rule_with_a_card_that_says_where_it_fails():
    loaded = load_rule(registry.find(NAME))
    rule, initial = rebuild(loaded.card), jax.device_get(NormalisedRule().init(jax.random.key(0)))
    assert isinstance(rule, NormalisedRule)
    chex.assert_trees_all_equal_shapes(loaded.theta, initial)
    assert np.abs(loaded.theta["net"]["layers_2"]["kernel"]).min() > 0
    assert loaded.card.meta_steps == 1000 and loaded.card.seed == 0
    assert "not better" in loaded.card.limits[0] and "data of meta-training" in loaded.card.limits[0]


def test_learned_is_the_direction_with_decay_and_schedule():
    schedule = optax.linear_schedule(0.1, 0.0, 4)
    parts = optax.chain(lopt.scale_by_learned(), optax.add_decayed_weights(0.3), optax.scale_by_learning_rate(schedule))
    chex.assert_trees_all_close(run(lopt.learned(schedule, weight_decay=0.3)), run(parts), rtol=1e-5)


def test_learned_equals_the_rule_of_its_file():
    loaded = load_rule(registry.find(NAME))
    expected = run(NormalisedRule(hidden=rebuild(loaded.card).hidden, learning_rate=0.05).as_optax(loaded.theta))
    chex.assert_trees_all_close(run(lopt.learned(0.05)), expected, rtol=1e-5)


def test_learned_descends_on_a_quadratic_by_steps_of_its_learning_rate():
    updates, _ = jax.jit(lambda p: lopt.learned(0.02).update(p, lopt.learned(0.02).init(p), p))(PARAMS)
    for update, gradient in zip(*map(jax.tree.leaves, (updates, PARAMS)), strict=True):
        np.testing.assert_allclose(np.sqrt(np.mean(np.square(update))), 0.02, rtol=1e-5)
        assert np.sum(np.asarray(update) * np.asarray(gradient)) < 0


def test_integer_leaves_do_not_change():
    params = PARAMS | {"n": jnp.array([2**30 + 1])}
    tx = lopt.learned(0.1, weight_decay=0.1, mask=lambda params: {"w": True, "b": False, "n": False})
    grads = jax.grad(lambda p: jnp.sum(p["w"] ** 2) + jnp.sum(p["b"]), allow_int=True)(params)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    assert optax.apply_updates(params, updates)["n"][0] == 2**30 + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0,), "NormalisedRule: learning_rate must be finite and above 0"),
        ((0.1, -1.0), "NormalisedRule: weight_decay must be finite and at least 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        lopt.learned(*arguments)
