"""DiscoRL's agents: network, optimizer, replay, lifetime and its meta-gradient.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import LifetimeReturn, TrajectoryReplay, disco_adam, mlp_torso
from lopt.agents.disco import ActionModel, DiscoNetwork
from lopt.meta import MetaGradient
from lopt.objectives import DiscoRegulariser
from lopt.optimizers import differentiable
from lopt.types import Rates
from tests.reference import pair
from tests.reference.aim import Aim
from tests.reference.disco import small_rule
from tests.reference.lifetimes import B, T, disco, random_theta

KEY = jax.random.key(0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_action_model_is_one_lstm_step_for_every_action():
    model, x = ActionModel(3, (2, 5), state_size=4, hidden=6), np.linspace(-1, 1, 7)
    params = random_theta_of(model, x)
    outputs = model.apply({"params": params}, jnp.asarray(x, jnp.float32))
    initial, step = params["initial"], params["step"]
    c0 = x @ initial["kernel"] + initial["bias"]
    for a in range(3):
        i, f, g, o = np.split(step["input"][a] + np.tanh(c0) @ step["state"] + step["bias"], 4)
        h = sigmoid(o) * np.tanh(sigmoid(f) * c0 + sigmoid(i) * np.tanh(g))
        for j, output in enumerate(outputs):
            hidden, last = params[f"Dense_{j}"], params[f"Dense_{j + 2}"]
            expected = np.maximum(h @ hidden["kernel"] + hidden["bias"], 0) @ last["kernel"] + last["bias"]
            np.testing.assert_allclose(output[a], expected, rtol=1e-4, atol=1e-5)


def random_theta_of(module, x):
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda key: module.init(key, jnp.asarray(x, jnp.float32))["params"], KEY)
    return jax.tree.map(lambda s: jnp.array(rng.normal(0, 0.5, s.shape), jnp.float32), shapes)


def test_number_of_parameters_of_the_published_agent():
    """943,375 on Catch 8x8, with three actions."""
    network = DiscoNetwork(torso=mlp_torso(512, 512), num_actions=3, prediction_size=600, num_bins=601)
    params = jax.eval_shape(lambda key: network.init(key, jnp.zeros((8, 8, 1))), KEY)
    assert sum(x.size for x in jax.tree.leaves(params)) == 943_375


def test_the_policy_alone_equals_that_of_all_outputs():
    network = DiscoNetwork(torso=mlp_torso(4, 3), num_actions=2, prediction_size=3, num_bins=5, state_size=2, hidden=2)
    params = network.init(KEY, jnp.zeros(3))
    obs = jnp.arange(3.0)
    alone = network.apply(params, obs, method="policy")
    np.testing.assert_allclose(network.apply(params, obs).policy, alone, rtol=1e-6)
    assert np.abs(alone).max() > 0


def test_disco_adam_is_clipped_adam_with_a_constant_denominator():
    rate, grads = 0.1, {"w": jnp.array([0.3, -2.0, 1e-3]), "b": jnp.array(0.5)}
    tx, adam = disco_adam(rate, max_step=0.7), optax.adam(rate)
    state, reference = tx.init(grads), adam.init(grads)
    for scale in (1.0, -0.5, 2.0):
        scaled = jax.tree.map(lambda g, s=scale: s * g, grads)
        updates, state = tx.update(scaled, state)
        expected, reference = adam.update(scaled, reference)
        clipped = jax.tree.map(lambda u: jnp.clip(u, -0.07, 0.07), expected)
        chex.assert_trees_all_close(updates, clipped, rtol=1e-5)
    # the first step is - rate g / (|g| + 1e-8): as |g| is a constant, its derivative is - rate / (|g| + 1e-8)
    free = disco_adam(rate, max_step=10.0)
    g = jnp.array([0.3, -2.0])
    slope = jax.jacobian(lambda g: free.update(g, free.init(g))[0])(g)
    np.testing.assert_allclose(slope, np.diag(-rate / np.abs(g)), rtol=1e-4, atol=1e-7)


def test_replay_keeps_the_last_trajectories():
    replay = TrajectoryReplay(capacity=5, batch_size=3)
    batches = [{"x": jnp.arange(4.0).reshape(2, 2) + 10 * n, "n": jnp.full((2, 2, 1), n)} for n in range(4)]
    state, kept = replay.init(jax.eval_shape(lambda: batches[0])), []
    for n, batch in enumerate(batches):
        state = replay.add(state, batch)
        kept = [*kept, *np.asarray(batch["x"]).T][-5:]
        assert int(state.added) == 2 * (n + 1) and bool(replay.ready(state)) == (2 * (n + 1) >= 3)
        rows = {tuple(row) for row in np.asarray(state.stored["x"])} - {(0.0, 0.0)}
        assert rows <= {tuple(row) for row in kept} and len(rows) == len(kept)
        drawn = replay.sample(jax.random.key(n), state)
        assert drawn["x"].shape == (2, 3) and drawn["n"].shape == (2, 3, 1)
        assert {tuple(row) for row in np.asarray(drawn["x"]).T} <= {tuple(row) for row in kept}


def test_an_agent_with_replay_starts_to_learn_when_a_batch_is_stored():
    lifetime = disco(replay=TrajectoryReplay(capacity=8, batch_size=2 * B))
    theta, level = random_theta(lifetime.rule), pair.level(num_updates=10)
    first = state = jax.jit(lifetime.init)(KEY, theta, level)
    step = jax.jit(lifetime.step)
    for n, learns in enumerate((False, True)):
        state, _ = step(jax.random.key(n), theta, level, state)
        before, after = (jax.tree.leaves((s.agent.params, s.agent.rule_state)) for s in (first, state))
        assert any((a != b).any() for a, b in zip(before, after, strict=True)) == learns
        assert int(lifetime.age(state)) == n + 1 and int(state.agent.replay.added) == B * (n + 1)
    assert state.agent.replay.stored[0].reward.shape == (8, T)


@pytest.mark.slow
def test_the_meta_gradient_equals_finite_differences(monkeypatch):
    """Two updates in double precision: along a dense direction, and along a coordinate of every leaf.

    The rule's inputs but y and z are constants for the meta-gradient by intent, and finite differences see them change:
    here nothing is constant. With the constants the gradient is another one.
    """
    weights = {"policy_entropy": 0.1, "prediction_entropy": 0.2, "target_mean": 0.3, "target_kl": 0.4}
    adam = differentiable(optax.chain(optax.scale_by_adam(eps=1e-2), optax.scale(-0.1)))
    lifetime = disco(optimizer=adam, regulariser=DiscoRegulariser(**weights))
    levels, rng = pair.levels(100, 2), np.random.default_rng(0)
    estimator = MetaGradient(lifetime=lifetime, num_updates=2, remat=False)
    with jax.enable_x64(True):
        theta = random_theta(lifetime.rule, dtype=np.float64)
        state = jax.jit(estimator.init)(KEY, theta, levels)
        # Flax initialises layers in single precision
        agents = jax.tree.map(lambda x: x.astype(np.float64) if x.dtype == np.float32 else x, state.per_lifetime.agent)
        state = state.replace(per_lifetime=state.per_lifetime.replace(agent=agents))
        with_constants, _, _ = jax.jit(lambda theta: estimator.estimate(KEY, theta, levels, state))(theta)
        monkeypatch.setattr(jax.lax, "stop_gradient", lambda x: x)
        estimate = jax.jit(lambda theta: estimator.estimate(KEY, theta, levels, state))
        grads, after, _ = estimate(theta)

        def loss(direction, size):
            moved = jax.tree.map(lambda t, d: t + size * d, theta, direction)
            _, same, metrics = estimate(moved)
            chex.assert_trees_all_equal(same.per_lifetime.env_batch, after.per_lifetime.env_batch)
            return float(np.asarray(metrics.meta["meta_loss"]).mean())

        leaves, structure = jax.tree.flatten(grads)
        directions = [jax.tree.map(lambda x: rng.normal(size=x.shape), theta)]
        for i, leaf in enumerate(leaves):
            axes = [np.zeros(x.shape) for x in leaves]
            axes[i].flat[int(np.abs(leaf).argmax())] = 1.0
            directions.append(structure.unflatten(axes))
        for direction in directions:
            slope = sum(float((g * d).sum()) for g, d in zip(leaves, jax.tree.leaves(direction), strict=True))
            measured = (loss(direction, 1e-6) - loss(direction, -1e-6)) / 2e-6
            np.testing.assert_allclose(measured, slope, rtol=1e-4, atol=1e-8)
    assert sum(np.abs(leaf).max() > 1e-6 for leaf in leaves) > 30
    distance = [np.abs(g - c).max() for g, c in zip(leaves, jax.tree.leaves(with_constants), strict=True)]
    assert 1e-4 < max(distance) < max(np.abs(leaf).max() for leaf in leaves)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: disco(env=Aim()), "DiscoLifetime: actions must be discrete"),
        (lambda: disco(env=None), "DiscoLifetime: expected an environment"),
        (lambda: disco(num_envs=0), r"num_envs must be at least 1 \(got 0\)"),
        (lambda: disco(tracked_updates=-1), r"tracked_updates must not be negative \(got -1\)"),
        (
            lambda: TrajectoryReplay(capacity=3, batch_size=4),
            "batch_size <= capacity .got batch_size 4, capacity 3",
        ),
        (lambda: LifetimeReturn(disco()), "whose tracked_updates is the largest number"),
    ],
)
def test_bad_input(make, message, monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        make()


def test_a_theta_or_a_level_that_does_not_fit_is_refused(monkeypatch):
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    lifetime, level = disco(), pair.level()
    with pytest.raises(ValueError, match="theta does not belong to this rule.*prediction_size 4"):
        lifetime.init(KEY, random_theta(small_rule(prediction_size=5)), level)
    rates = Rates(jnp.ones(()), jnp.ones(()))
    with pytest.raises(ValueError, match=re.escape("levels must have no rates (got Rates)")):
        lifetime.init(KEY, random_theta(lifetime.rule), level.replace(rates=rates))
    with pytest.raises(ValueError, match="needs a value baseline"):
        disco(baseline=None).meta_loss(KEY, random_theta(lifetime.rule), level, None)
