"""Agents trained by a learned optimizer: its extra arguments, its steps, and the optax optimizers it may stand for.

The laws of every lifetime are in `tests/contracts/test_lifetime.py`.
"""

import functools
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt import nets
from lopt.agents import LearnedOptimizerLifetime, MinibatchEpochs, rollout
from lopt.agents.rollout import permutation
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.meta import PES, MetaLearner
from lopt.objectives import A2C
from lopt.optimizers import FromOptax, LearnableSGD, layer_positions
from lopt.types import PlaneObs, Progress, RolloutScores
from tests.reference import pair
from tests.reference.lifetimes import OPEN, B, T, by_open, networks, ppo_networks, random_theta, rl_lifetime

KEY = jax.random.key(0)
EPOCHS = MinibatchEpochs(3, 2)
LEVEL = pair.level(num_updates=4)


class Seen(NamedTuple):
    """The extra arguments of the last update, and the scalar ones of all updates `[n]`."""

    number: jax.Array
    batch_fraction: jax.Array
    progress: jax.Array
    noise: jax.Array
    value: jax.Array
    trees: dict


def probe(names, updates):
    """Gradient descent that keeps its extra arguments; the trees `names` are those of the last update."""

    def scalars():
        return jnp.full(updates, -1.0)

    def init(params):
        trees = {name: jax.tree.map(lambda p: jnp.zeros_like(p), params) for name in names}
        return Seen(jnp.int32(0), scalars(), scalars(), scalars(), scalars(), trees)

    def update(grads, state, params, *, value, progress, key, batch_fraction=0.0, **extra):
        i = state.number
        after = Seen(
            number=i + 1,
            batch_fraction=state.batch_fraction.at[i].set(batch_fraction),
            progress=state.progress.at[i].set(progress.fraction),
            noise=state.noise.at[i].set(jax.random.uniform(key)),
            value=state.value.at[i].set(value),
            trees={
                name: jax.tree.map(lambda x, p: x + jnp.zeros_like(p), jax.tree.broadcast(extra[name], params), params)
                if name == "explore"
                else jax.tree.map(lambda x, p: x + jnp.zeros_like(p), extra[name], params)
                for name in names
            },
        )
        return jax.tree.map(lambda g: -0.1 * g, grads), after

    return optax.GradientTransformationExtraArgs(init, update)


def of_networks(seen, name):
    """The distinct values of a tree of extra arguments in each tensor."""
    return jax.tree.map(lambda x: np.unique(np.asarray(x)).tolist(), seen.trees[name])


def test_layers_are_numbered_in_order_and_kernel_and_bias_alike():
    layer = {"kernel": 0.0, "bias": 0.0}
    assert layer_positions({f"Dense_{i}": layer for i in (0, 2, 1)}) == {
        f"Dense_{i}": {"kernel": i / 2, "bias": i / 2} for i in range(3)
    }
    many = layer_positions({f"Dense_{i}": layer for i in range(11)})
    assert [many[f"Dense_{i}"]["kernel"] for i in range(11)] == [i / 10 for i in range(11)]
    assert layer_positions({"w": 0.0, "b": 0.0}) == {"w": 0.0, "b": 0.0}
    assert layer_positions({}) == {}
    gaussian = jax.eval_shape(nets.GaussianPolicy(partial(nets.MLP, (3, 3)), 2).init, KEY, jnp.zeros(4))["params"]
    positions = layer_positions(gaussian)
    # as in the authors' code the standard deviations are the last layer
    assert positions["log_std"] == 1 and positions["MLP_0"]["Dense_2"]["bias"] == pytest.approx(2 / 3)


def test_the_batch_fraction_is_that_of_the_passes_over_a_rollout():
    np.testing.assert_allclose(jax.vmap(EPOCHS.fraction)(jnp.arange(6)), [0, 0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(jax.vmap(MinibatchEpochs(1, 3).fraction)(jnp.arange(3)), [0, 0, 0])


def test_dormancy_of_a_convolutional_network_is_that_of_its_layers():
    net, rng = nets.Conv((3,), (4,), 2), np.random.default_rng(0)
    obs = PlaneObs(jnp.asarray(rng.normal(size=(3, 3, 2)), jnp.float32), jnp.float32(0.1))
    params = jax.jit(net.init)(KEY, obs)["params"]
    out, activity = jax.jit(partial(nets.apply_with_activity, net))(params, obs)
    dormancy = nets.dormancy(activity, params)
    chex.assert_trees_all_equal_structs(dormancy, params)
    np.testing.assert_allclose(dormancy["MLP_0"]["Dense_1"]["kernel"][0], np.abs(out) / np.abs(out).mean(), rtol=1e-5)
    assert dormancy["Conv_0"]["kernel"].shape == (1, 1, 1, 3) and dormancy["MLP_0"]["Dense_0"]["bias"].shape == (4,)
    for leaf in jax.tree.leaves(dormancy):
        np.testing.assert_allclose(leaf.mean(), 1, rtol=1e-5)


def test_an_initialised_network_has_parameters_alone():
    assert set(jax.eval_shape(nets.MLP((3,), 2).init, KEY, jnp.zeros(4))) == {"params"}


def test_ppo_gives_an_optimizer_all_extra_arguments():
    lifetime = ppo_networks(probe(("layer_position", "explore", "dormancy"), 12), epochs=EPOCHS)
    step = jax.jit(lifetime.step)
    state = jax.jit(lifetime.init)(KEY, (), LEVEL)
    for i in range(2):
        state, info = step(jax.random.fold_in(KEY, i), (), LEVEL, state)
    seen = state.agent.opt_state
    np.testing.assert_allclose(seen.batch_fraction, [0, 0, 0.5, 0.5, 1, 1] * 2)
    np.testing.assert_allclose(seen.progress, [0] * 6 + [0.25] * 6)
    np.testing.assert_allclose(seen.value[6:].mean(), info.metrics["loss"], rtol=1e-5)
    assert len(np.unique(seen.noise)) == 12
    numbered = {f"Dense_{i}": {"kernel": [float(i)], "bias": [float(i)]} for i in range(2)}
    assert of_networks(seen, "layer_position") == {"policy": numbered, "prediction": numbered}
    for network, expected in (("policy", [1.0]), ("prediction", [0.0])):
        assert all(x == expected for x in jax.tree.leaves(of_networks(seen, "explore")[network], is_leaf=_is_list))
    # a value function has one output, which is as active as its layer
    np.testing.assert_allclose(seen.trees["dormancy"]["prediction"]["Dense_1"]["bias"], 1, rtol=1e-5)


def test_an_rl_lifetime_gives_its_two_optimizers_their_arguments():
    lifetime = rl_lifetime(A2C(), networks(probe(("explore", "dormancy"), 2), activation=jnp.tanh), baseline=None)
    state = jax.jit(lifetime.init)(KEY, (), LEVEL)
    obs = jax.jit(lambda key, s: lifetime.rollout(key, LEVEL, s)[1].obs)(KEY, state)
    after, info = jax.jit(lifetime.step)(KEY, (), LEVEL, state)
    policy, prediction = after.agent.policy.opt_state, after.agent.prediction.opt_state
    for seen, explore in ((policy, [1.0]), (prediction, [0.0])):
        assert all(x == explore for x in jax.tree.leaves(of_networks(seen, "explore"), is_leaf=_is_list))
        np.testing.assert_allclose(seen.progress[0], 0)
        np.testing.assert_allclose(seen.value[0], info.metrics["loss"], rtol=1e-5)
    assert policy.noise[0] != prediction.noise[0]
    dense = {name: np.asarray(x) for name, x in state.agent.policy.params["Dense_0"].items()}
    inputs = np.stack([np.asarray(x, np.float32) for x in jax.tree.leaves(obs)], -1)
    hidden = np.abs(np.tanh(inputs @ dense["kernel"] + dense["bias"])).reshape(-1, 3).mean(0)
    np.testing.assert_allclose(policy.trees["dormancy"]["Dense_0"]["bias"], hidden / hidden.mean(), rtol=1e-4)


def _is_list(x):
    return isinstance(x, list)


def dormancy_by_hand(params, obs):
    inputs = jnp.stack([x.ravel() for x in jax.tree.leaves(obs)], -1).astype(jnp.float32)
    hidden = jnp.tanh(inputs @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None])
    out = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"][None]
    relative = [jnp.abs(a).mean(0) / jnp.abs(a).mean() for a in (hidden, out)]
    return {f"Dense_{i}": {"bias": r, "kernel": r[None]} for i, r in enumerate(relative)}


@functools.cache
def parts_of_an_update():
    """The parts of an update of PPO by OPEN: a rollout with its targets, and a step with explicit arguments."""
    tx = optax.chain(optax.clip_by_global_norm(0.5), OPEN.as_optax(random_theta(OPEN)))
    lifetime = ppo_networks(optax.identity(), epochs=EPOCHS)
    agent, objective = lifetime.agent, lifetime.objective

    @jax.jit
    def sample(key, learner, env_batch, progress):
        def act(obs):
            return agent.act(learner, obs)

        traj = rollout(key, lifetime.env, LEVEL.params, act, env_batch, T)[1]
        outs = [agent.outputs(learner.params, x) for x in (traj.obs, traj.next_obs)]
        return traj, objective.targets((), traj, *outs, progress)

    @jax.jit
    def minibatch(key, params, opt_state, traj, targets, progress, index):
        def loss(params):
            return objective.loss((), agent.outputs(params, traj.obs), traj, targets, progress)[0]

        numbers = {f"Dense_{i}": {"bias": float(i), "kernel": float(i)} for i in range(2)}
        updates, opt_state = tx.update(
            jax.grad(loss)(params),
            opt_state,
            params,
            progress=progress,
            batch_fraction=(index // 2) / 2,
            dormancy={name: dormancy_by_hand(net, traj.obs) for name, net in params.items()},
            layer_position={"policy": numbers, "prediction": numbers},
            explore={"policy": 1.0, "prediction": 0.0},
            key=jax.random.fold_in(key, index),
        )
        return optax.apply_updates(params, updates), opt_state

    return sample, minibatch


def by_hand(state, update):
    """The parameters after one update of PPO by OPEN, in a Python loop."""
    sample, minibatch = parts_of_an_update()
    key_rollout, key_order, key_noise = jax.random.split(jax.random.fold_in(KEY, update), 3)
    progress = Progress(jnp.int32(update), LEVEL.num_updates)
    traj, targets = sample(key_rollout, state.agent, state.env_batch, progress)
    flat = jax.tree.map(lambda x: x.reshape(T * B, *x.shape[2:]), (traj.replace(next_obs=()), targets))
    params, opt_state = state.agent.params, state.agent.opt_state
    order = [permutation(key, T * B).reshape(2, -1) for key in jax.random.split(key_order, 3)]
    for index, rows in enumerate(np.concatenate(order)):
        part = jax.tree.map(lambda x, rows=rows: x[rows][None], flat)
        params, opt_state = minibatch(key_noise, params, opt_state, *part, progress, jnp.int32(index))
    return params


def test_updates_of_ppo_by_open_equal_an_explicit_composition():
    """The second update starts with momenta and recurrent states of the first."""
    lifetime, theta = by_open(epochs=EPOCHS), random_theta(OPEN)
    state = jax.jit(lifetime.init)(KEY, theta, LEVEL)
    step = jax.jit(lifetime.step)
    for update in range(2):
        expected = by_hand(state, update)
        before, (state, _) = state, step(jax.random.fold_in(KEY, update), theta, LEVEL, state)
        # six steps of a recurrent network, whose inputs are logarithms of gradients: relative errors of 1e-4
        chex.assert_trees_all_close(state.agent.params, expected, rtol=1e-3, atol=1e-4)
        moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.agent.params, before.agent.params)
        assert min(jax.tree.leaves(moved)) > 1e-3  # ten times the tolerance


PAIRS = {
    "PPO": lambda tx: ppo_networks(optax.chain(optax.clip_by_global_norm(0.5), tx)),
    "A2C": lambda tx: rl_lifetime(A2C(), networks(tx, activation=jnp.tanh), baseline=None),
}


@pytest.mark.parametrize("name", PAIRS)
def test_an_optax_optimizer_behind_the_contract_gives_the_lifetime_of_the_fixed_optimizer(name):
    make = PAIRS[name]
    learned = LearnedOptimizerLifetime(rule=FromOptax(optax.adam), make=make)
    assert issubclass(learned.score_type, RolloutScores)

    def final(lifetime, theta):
        step, state = jax.jit(lifetime.step), lifetime.init(KEY, theta, LEVEL)
        for i in range(3):
            state, _ = step(jax.random.fold_in(KEY, i), theta, LEVEL, state)
        return state

    got, expected = final(learned, jnp.float32(0.01)), final(make(optax.adam(0.01)), ())
    # Adam's first steps are near a division of equal numbers: errors of some 1e-4 of a step
    chex.assert_trees_all_close(got, expected, rtol=1e-3, atol=1e-5)


def test_the_gradient_in_the_meta_parameters_of_an_optimizer():
    """Finite differences over the first update of A2C, whose rollout does not depend on theta."""
    lifetime = LearnedOptimizerLifetime(rule=LearnableSGD(learning_rate=0.5), make=PAIRS["A2C"])
    theta = lifetime.rule.init(KEY)
    state = jax.jit(lifetime.init)(KEY, theta, LEVEL)

    @jax.jit
    @jax.value_and_grad
    def total(log_rate):
        updated, _ = lifetime.step(KEY, theta | {"log_learning_rate": log_rate}, LEVEL, state)
        return sum(jnp.sin(3 * x).sum() for x in jax.tree.leaves(updated.agent.policy.params))

    log_rate, width = theta["log_learning_rate"], 0.02
    (above, _), (below, _), (_, slope) = total(log_rate + width), total(log_rate - width), total(log_rate)
    assert abs(slope) > 1e-3
    # rounding of the sums, 1e-6, over the width of the difference
    np.testing.assert_allclose((above - below) / (2 * width), slope, rtol=0.02, atol=2e-4)


def test_persistent_evolution_of_an_optimizer_keeps_the_type_of_the_state():
    learner = MetaLearner(
        estimator=PES(lifetime=by_open(), num_updates=2),
        curriculum=DomainRandomisation(lambda key: LEVEL),
        score=Uniform(),
        optimizer=optax.adam(0.01),
        num_lifetimes=2,
        rule=OPEN,
    )
    state = jax.eval_shape(learner.init, KEY)
    after, metrics = jax.eval_shape(learner.step, KEY, state)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.structure(after.theta) == jax.tree.structure(jax.eval_shape(OPEN.init, KEY))
    assert "return" in metrics
