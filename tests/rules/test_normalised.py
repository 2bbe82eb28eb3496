"""The learned optimizer that comes with lopt: loaded without a path, it is its rule with the user's learning rate."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lopt
from lopt.optimizers import NormalisedRule
from lopt.rules import load_rule, rebuild, registry
from lopt.rules.normalised import NAME

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
