"""Laws of every lifetime."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lopt.agents import FinalReturn, LifeReturn, Together
from lopt.objectives import A2C, LPO, PPO, TALPO, Clip, FractionAndLogLifetime
from lopt.protocols import Lifetime
from tests.reference import aim, bandit, in_context, keys, pair, supervised
from tests.reference.aim import Aim
from tests.reference.bandit import Bandit
from tests.reference.lives import life, lion, lpg, ppo, ppo_on_aim, random_theta

KEY = jax.random.key(0)
LENGTHS = (1, 2, 100)
N, UPDATES = len(LENGTHS), 3


def confidence(key, level, learner):
    """A measurement of an agent that depends on all it has learned."""
    return jax.nn.softmax(learner.agent.policy.params["rows"])[:, 0].sum()


LIFETIMES = {
    "bandit": Bandit,
    "two bandits together": lambda: Together((Bandit(), Bandit(rate=0.2)), ("fast", "slow")),
    "LPG with time, tables": lambda: life(lpg(conditioning=FractionAndLogLifetime())),
    "A2C, networks, Lion with weight decay": lambda: life(A2C(), lion(), mean_advantage=True),
    "LPG, judged by its return": lambda: FinalReturn(life(lpg()), confidence),
    "LPO, tables": lambda: ppo(PPO(LPO(4, floor=Clip()))),
    "TA-LPO, real actions, Lion with weight decay, all normalised": lambda: ppo_on_aim(PPO(TALPO(4))),
    "TA-LPO, real actions, judged by its life": lambda: LifeReturn(
        ppo_on_aim(PPO(TALPO(4)), tracked_updates=max(LENGTHS)), scale=2.0
    ),
    **supervised.LIVES,
    "in context": in_context.lifetime,
}
UNTOUCHED = ("LPO", "TA-LPO", "LPG, judged", *supervised.LIVES, "in context")
"""Lifetimes whose meta-loss is measured in passing, so that the learner comes back as it was."""
UNLEARNED = ("in context",)
"""Lifetimes that learn nothing in an update: theta is at work in their meta-loss alone, and updates have no metrics."""
for_lifetimes = pytest.mark.parametrize("name", LIFETIMES)


@functools.cache
def parts(name):
    """`(lifetime, levels [N], a theta, another theta)`."""
    lifetime = LIFETIMES[name]()
    if "bandit" in name:
        thetas = [{"value": jnp.array([0.5, -1.0, 0.8]) * sign} for sign in (1, -1)]
        levels = bandit.levels(N, list(LENGTHS))
        return lifetime, jax.vmap(lifetime.level)((levels, levels)) if "together" in name else levels, *thetas
    if name in supervised.LIVES:
        return lifetime, supervised.levels(lifetime, *LENGTHS), *(random_theta(lifetime.optimizer, i) for i in (0, 1))
    if name == "in context":
        model = lifetime.model
        return lifetime, in_context.levels(*LENGTHS), *(jax.jit(model.init)(jax.random.key(i)) for i in (0, 1))
    levels = (aim if isinstance(getattr(_player(lifetime), "env", None), Aim) else pair).levels(*LENGTHS)
    return lifetime, levels, *(random_theta(_player(lifetime).objective, seed) for seed in (0, 1))


def _player(lifetime):
    return lifetime.lifetime if isinstance(lifetime, (FinalReturn, LifeReturn)) else lifetime


@functools.cache
def jitted(name):
    """A life of UPDATES steps as `states [UPDATES + 1]` and metrics: N at once, and one alone."""
    lifetime = parts(name)[0]

    def life(key, theta, level):
        key_birth, key_updates, key_loss = jax.random.split(key, 3)
        born = lifetime.init(key_birth, theta, level)

        def step(state, key):
            state, metrics = lifetime.step(key, theta, level, state)
            return state, (state, metrics)

        # a scan accepts a state that keeps its structure, shapes and types
        last, (states, metrics) = jax.lax.scan(step, born, jax.random.split(key_updates, UPDATES))
        states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), born, states)
        return states, metrics, lifetime.meta_loss(key_loss, theta, level, last), jax.vmap(lifetime.age)(states)

    return jax.jit(jax.vmap(life, (0, None, 0))), jax.jit(life)


@functools.cache
def lives(name, which_theta=0, seed=0):
    _, levels, *thetas = parts(name)
    return jitted(name)[0](jax.random.split(jax.random.key(seed), N), thetas[which_theta], levels)


def differs(a, b):
    return any((np.asarray(x) != np.asarray(y)).any() for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


@for_lifetimes
def test_lifetime_has_the_methods_and_hashes(name):
    lifetime = parts(name)[0]
    assert isinstance(lifetime, Lifetime)
    assert isinstance(hash(lifetime), int)


@for_lifetimes
def test_a_life_goes_on_until_its_end_and_then_stands_still(name):
    states, _, _, age = lives(name)
    np.testing.assert_array_equal(age, [[min(t, length) for t in range(UPDATES + 1)] for length in LENGTHS])
    for n, length in enumerate(LENGTHS):
        at = [jax.tree.map(lambda x, n=n, t=t: np.asarray(x)[n, t], states) for t in range(UPDATES + 1)]
        for t in range(UPDATES):
            if t < length:
                assert differs(at[t], at[t + 1])
            else:
                chex.assert_trees_all_equal(at[t], at[t + 1])


@for_lifetimes
def test_many_at_once_are_many_one_by_one(name):
    _, levels, theta, _ = parts(name)
    splits, one = jax.random.split(KEY, N), jitted(name)[1]
    alone = [one(splits[n], theta, jax.tree.map(lambda x, n=n: x[n], levels)) for n in range(N)]
    together = jax.tree.map(lambda *xs: np.stack(xs), *alone)
    chex.assert_trees_all_close(together, lives(name), rtol=1e-4, atol=1e-5)


@for_lifetimes
def test_a_life_depends_on_its_key_and_on_nothing_else(name):
    _, levels, theta, _ = parts(name)
    again = jitted(name)[0](jax.random.split(KEY, N), theta, levels)
    chex.assert_trees_all_equal(again, lives(name))
    other = lives(name, seed=1)
    assert differs(other[0], again[0]) and differs(other[1], again[1]) != (name in UNLEARNED)


@for_lifetimes
def test_theta_makes_a_difference_after_birth_unless_there_is_none(name):
    *_, theta, _ = parts(name)
    (states, _, (loss, *_), _), (other, _, (other_loss, *_), _) = lives(name), lives(name, which_theta=1)
    born, grown = ([jax.tree.map(lambda x, t=t: np.asarray(x)[:, t], s) for s in (states, other)] for t in (0, UPDATES))
    chex.assert_trees_all_equal(*born)
    assert differs(*grown) == (theta != () and name not in UNLEARNED)
    assert (loss != other_loss).any() == (theta != ())


@for_lifetimes
def test_measuring_the_meta_loss_does_not_age(name):
    lifetime = parts(name)[0]
    states, _, (loss, measured, told), age = lives(name)
    chex.assert_shape(loss, (N,))
    assert np.isfinite(loss).all()
    np.testing.assert_array_equal(jax.vmap(lifetime.age)(measured), np.asarray(age)[:, -1])
    last = jax.tree.map(lambda x: x[:, -1], states)
    chex.assert_trees_all_equal_shapes_and_dtypes(measured, last)
    assert differs(measured, last) != name.startswith(UNTOUCHED)
    assert all(x.shape[0] == N for x in jax.tree.leaves(told))


@for_lifetimes
def test_metrics_are_floats_per_update(name):
    for leaf in jax.tree.leaves(lives(name)[1]):
        assert leaf.shape == (N, UPDATES) and leaf.dtype == jnp.float32


@for_lifetimes
def test_a_carried_state_is_traced_once(name):
    """What `step` and `meta_loss` return has the type of what they take, weak types included."""
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
