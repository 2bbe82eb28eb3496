"""Laws of every lifetime."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lopt.agents import (
    DiscoLifetime,
    FinalReturn,
    LearnedOptimizerLifetime,
    LifetimeReturn,
    MultiEnvLifetime,
    TrajectoryReplay,
)
from lopt.objectives import A2C, LPO, PPO, TALPO, Clip, FractionAndLogNumUpdates
from lopt.optimizers import LearnableAdam
from lopt.protocols import Lifetime
from lopt.tasks import WindowLoss
from lopt.types import UpdateInfo
from tests.reference import aim, bandit, in_context, keys, pair, supervised
from tests.reference.aim import Aim
from tests.reference.bandit import Bandit
from tests.reference.lifetimes import by_open, disco, lion, lpg, networks, ppo, ppo_on_aim, random_theta, rl_lifetime

KEY = jax.random.key(0)
LENGTHS = (1, 2, 100)
N, UPDATES = len(LENGTHS), 3


def confidence(key, level, learner):
    """Evaluation of an agent that depends on all its parameters."""
    return jax.nn.softmax(learner.agent.policy.params["rows"])[:, 0].sum()


def spread(key, level, learner):
    """Evaluation of an agent with networks that depends on its policy."""
    return sum(jnp.abs(x).sum() for x in jax.tree.leaves(learner.agent.policy.params))


LIFETIMES = {
    "bandit": Bandit,
    "two bandits, multi-environment": lambda: MultiEnvLifetime((Bandit(), Bandit(rate=0.2)), ("fast", "slow")),
    "LPG with time, tables": lambda: rl_lifetime(lpg(conditioning=FractionAndLogNumUpdates())),
    "A2C, networks, Lion with weight decay": lambda: rl_lifetime(A2C(), lion()),
    "LPG, final return": lambda: FinalReturn(lifetime=rl_lifetime(lpg()), evaluate=confidence),
    "LPG, lifetime return": lambda: LifetimeReturn(rl_lifetime(lpg(), tracked_updates=max(LENGTHS))),
    "LPO, tables": lambda: ppo(PPO(drift=LPO(hidden=4, base_drift=Clip()))),
    "TA-LPO, continuous actions, Lion with weight decay, all normalised": lambda: ppo_on_aim(
        PPO(drift=TALPO(hidden=4))
    ),
    "TA-LPO, continuous actions, lifetime return": lambda: LifetimeReturn(
        ppo_on_aim(PPO(drift=TALPO(hidden=4)), tracked_updates=max(LENGTHS)), scale=2.0
    ),
    "DiscoRL": disco,
    "DiscoRL, replay, lifetime return": lambda: LifetimeReturn(
        disco(
            replay=TrajectoryReplay(capacity=7, batch_size=2),
            optimizer=optax.sgd(20.0),
            tracked_updates=max(LENGTHS),
        )
    ),
    "PPO by OPEN": by_open,
    "A2C by a learnable Adam, final return": lambda: LearnedOptimizerLifetime(
        rule=LearnableAdam(),
        make=lambda tx: FinalReturn(lifetime=rl_lifetime(A2C(), networks(tx)), evaluate=spread),
    ),
    **supervised.LIFETIMES,
    "window of training losses": lambda: WindowLoss(lifetime=supervised.LIFETIMES["supervised, by an MLP"]()),
    "in context": in_context.lifetime,
}
STATE_UNCHANGED = (
    "PPO by OPEN",
    "A2C by a learnable Adam",
    "LPO",
    "TA-LPO",
    "LPG, final",
    "LPG, lifetime return",
    "DiscoRL, replay",
    *supervised.LIFETIMES,
    "in context",
)
"""Lifetimes whose meta-loss returns the learner state unchanged."""
NO_INNER_LEARNING = ("in context",)
"""Lifetimes whose updates change nothing but the age: theta acts in their meta-loss alone; updates have no metrics."""
for_lifetimes = pytest.mark.parametrize("name", LIFETIMES)


@functools.cache
def parts(name):
    """`(lifetime, levels [N], a theta, another theta)`."""
    lifetime = LIFETIMES[name]()
    if "bandit" in name:
        thetas = [{"value": jnp.array([0.5, -1.0, 0.8]) * sign} for sign in (1, -1)]
        levels = bandit.levels(N, list(LENGTHS))
        return lifetime, jax.vmap(lifetime.level)((levels, levels)) if "multi-environment" in name else levels, *thetas
    if "supervised" in name or isinstance(lifetime, WindowLoss):
        inner = _inner_lifetime(lifetime)
        return lifetime, supervised.levels(inner, *LENGTHS), *(random_theta(inner.optimizer, i) for i in (0, 1))
    if name == "in context":
        model = lifetime.model
        return lifetime, in_context.levels(*LENGTHS), *(jax.jit(model.init)(jax.random.key(i)) for i in (0, 1))
    if isinstance(lifetime, LearnedOptimizerLifetime):
        return lifetime, pair.levels(*LENGTHS), *(random_theta(lifetime.rule, seed) for seed in (0, 1))
    if isinstance(_inner_lifetime(lifetime), DiscoLifetime):
        return lifetime, pair.levels(*LENGTHS), *(random_theta(_inner_lifetime(lifetime).rule, seed) for seed in (0, 1))
    levels = (aim if isinstance(getattr(_inner_lifetime(lifetime), "env", None), Aim) else pair).levels(*LENGTHS)
    return lifetime, levels, *(random_theta(_inner_lifetime(lifetime).objective, seed) for seed in (0, 1))


def _inner_lifetime(lifetime):
    return lifetime.lifetime if isinstance(lifetime, (FinalReturn, LifetimeReturn, WindowLoss)) else lifetime


@functools.cache
def jitted(name):
    """A lifetime of UPDATES steps as `states [UPDATES + 1]` and infos: N in a batch, and one alone."""
    lifetime = parts(name)[0]

    def run(key, theta, level):
        key_init, key_updates, key_loss = jax.random.split(key, 3)
        initial = lifetime.init(key_init, theta, level)

        def step(state, key):
            state, info = lifetime.step(key, theta, level, state)
            return state, (state, info)

        # a scan accepts a state that keeps its structure, shapes and types
        last, (states, info) = jax.lax.scan(step, initial, jax.random.split(key_updates, UPDATES))
        states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), initial, states)
        return states, info, lifetime.meta_loss(key_loss, theta, level, last), jax.vmap(lifetime.age)(states)

    return jax.jit(jax.vmap(run, (0, None, 0))), jax.jit(run)


@functools.cache
def batch_of_lifetimes(name, theta_index=0, seed=0):
    _, levels, *thetas = parts(name)
    return jitted(name)[0](jax.random.split(jax.random.key(seed), N), thetas[theta_index], levels)


def differs(a, b):
    return any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@for_lifetimes
def test_lifetime_has_the_methods_and_hashes(name):
    lifetime = parts(name)[0]
    assert isinstance(lifetime, Lifetime)
    assert isinstance(hash(lifetime), int)


@for_lifetimes
def test_updates_change_the_state_until_the_end_of_the_lifetime_and_not_after(name):
    states, _, _, age = batch_of_lifetimes(name)
    np.testing.assert_array_equal(age, [[min(t, length) for t in range(UPDATES + 1)] for length in LENGTHS])
    for n, length in enumerate(LENGTHS):
        at = [jax.tree.map(lambda x, n=n, t=t: np.asarray(x)[n, t], states) for t in range(UPDATES + 1)]
        for t in range(UPDATES):
            if t < length:
                assert differs(at[t], at[t + 1])
            else:
                chex.assert_trees_all_equal(at[t], at[t + 1])


@for_lifetimes
def test_vmap_equals_a_loop(name):
    _, levels, theta, _ = parts(name)
    splits, run = jax.random.split(KEY, N), jitted(name)[1]
    separate = [run(splits[n], theta, jax.tree.map(lambda x, n=n: x[n], levels)) for n in range(N)]
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *separate)
    chex.assert_trees_all_close(stacked, batch_of_lifetimes(name), rtol=1e-4, atol=1e-5)


@for_lifetimes
def test_a_lifetime_is_a_function_of_its_key(name):
    _, levels, theta, _ = parts(name)
    again = jitted(name)[0](jax.random.split(KEY, N), theta, levels)
    chex.assert_trees_all_equal(again, batch_of_lifetimes(name))
    other = batch_of_lifetimes(name, seed=1)
    assert differs(other[0], again[0]) and differs(other[1], again[1]) != (name in NO_INNER_LEARNING)


@for_lifetimes
def test_theta_affects_the_learner_after_initialisation_unless_it_is_empty(name):
    *_, theta, _ = parts(name)
    (states, _, (loss, *_), _), (other, _, (other_loss, *_), _) = (
        batch_of_lifetimes(name),
        batch_of_lifetimes(name, theta_index=1),
    )
    initial, final = (
        [jax.tree.map(lambda x, t=t: np.asarray(x)[:, t], s) for s in (states, other)] for t in (0, UPDATES)
    )
    chex.assert_trees_all_equal(*initial)
    assert differs(*final) == (theta != () and name not in NO_INNER_LEARNING)
    assert (loss != other_loss).any() == (theta != ())


@for_lifetimes
def test_the_meta_loss_does_not_change_the_age(name):
    lifetime = parts(name)[0]
    states, _, (loss, measured, metrics), age = batch_of_lifetimes(name)
    chex.assert_shape(loss, (N,))
    assert np.isfinite(loss).all()
    np.testing.assert_array_equal(jax.vmap(lifetime.age)(measured), np.asarray(age)[:, -1])
    last = jax.tree.map(lambda x: x[:, -1], states)
    chex.assert_trees_all_equal_shapes_and_dtypes(measured, last)
    assert differs(measured, last) != name.startswith(STATE_UNCHANGED)
    assert all(x.shape[0] == N for x in jax.tree.leaves(metrics))


@for_lifetimes
def test_an_update_reports_what_the_lifetime_says(name):
    lifetime = parts(name)[0]
    info = batch_of_lifetimes(name)[1]
    assert isinstance(info, UpdateInfo)
    given = getattr(lifetime, "score_type", None)
    assert given is None or isinstance(info.scores, given)


@for_lifetimes
def test_metrics_are_floats_per_update(name):
    for leaf in jax.tree.leaves(batch_of_lifetimes(name)[1]):
        assert leaf.shape == (N, UPDATES) and leaf.dtype == jnp.float32


@for_lifetimes
def test_a_carried_state_is_traced_once(name):
    """The states that `step` and `meta_loss` return have the types of their argument, weak types included."""
    lifetime, levels, theta, _ = parts(name)
    one = jax.tree.map(lambda x: x[0], levels)
    state = jax.eval_shape(lifetime.init, KEY, theta, one)
    for new in (
        jax.eval_shape(lifetime.step, KEY, theta, one, state)[0],
        jax.eval_shape(lifetime.meta_loss, KEY, theta, one, state)[1],
    ):
        for a, b in zip(*map(jax.tree.leaves, (new, state)), strict=True):
            assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)


@for_lifetimes
def test_no_key_is_used_twice(name, monkeypatch):
    lifetime, levels, theta, _ = parts(name)
    one = jax.tree.map(lambda x: x[0], levels)
    state = keys.trace(monkeypatch, lifetime.init, KEY, theta, one)
    for f in (lifetime.step, lifetime.meta_loss):
        keys.trace(monkeypatch, f, KEY, theta, one, state)
