"""The outer loop with parts that can be watched: who is renewed, what is scored, what is carried."""

import dataclasses
import functools
from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from lopt import tree
from lopt.agents import MeanReturn
from lopt.curriculum import AlgorithmicRegret, Replay
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPGPenalty
from lopt.types import NEW, UNTRACKED, Assignment, Level
from tests.reference import keys
from tests.reference.lives import life, random_theta
from tests.reference.pair import Pair, level
from tests.reference.ulps import assert_ulps

N, K, PACK, STEPS = 5, 2, 2, 8
KEY = jax.random.key(0)
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.05))
NAN_LEVEL = 666


class Life(struct.PyTreeNode):
    """What it is worth and how old it is."""

    value: jax.Array
    age: jax.Array


class Lifetime:
    """Every update adds theta and noise; worth its difference from 3."""

    def init(self, key, theta, level):
        return Life(jax.random.normal(key), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        alive = state.age < level.lifetime
        value = state.value + jnp.where(alive, theta["w"] + jax.random.normal(key), 0)
        best = jnp.where(state.age % 2 == 0, level.params["name"] * 1.0, -jnp.inf)
        return Life(value, state.age + alive), {"alive": alive * 1.0, "best": best}

    def meta_loss(self, key, theta, level, state):
        wrong = jnp.where(level.params["name"] == NAN_LEVEL, jnp.nan, 0.0)
        return (state.value - 3.0) ** 2 + wrong, state, {}

    def age(self, state):
        return state.age


def named(name):
    """Lifetimes of 1 to 7 updates."""
    return Level(params={"name": name}, lifetime=2 + 5 * name % 7)


class Names:
    """Hands out the numbers in order, and remembers the last exchange."""

    def init(self, key, num):
        record = {"next": jnp.int32(num), "scores": jnp.zeros(num), "finished": jnp.zeros(num, bool)}
        return record, Assignment(named(jnp.arange(num)), jnp.full(num, NEW, jnp.int32))

    def exchange(self, key, state, assignment, scores, finished):
        name = state["next"] + jnp.cumsum(finished) - 1
        levels = tree.where(finished, named(name), assignment.levels)
        slot = jnp.where(finished, NEW, assignment.slot)
        record = {"next": state["next"] + finished.sum(), "scores": scores, "finished": finished}
        return record, Assignment(levels, slot)

    def metrics(self, state):
        return {"next": state["next"]}


@dataclass(frozen=True)
class Score:
    """The learner's value plus 1000, counted."""

    asked: list

    def __hash__(self):
        return 0

    def init(self, key, level):
        return {"name": level.params["name"], "alive": jnp.zeros(())}

    def advance(self, key, level, state, metrics):
        return state | {"alive": state["alive"] + jnp.nansum(metrics["alive"])}

    def score(self, key, level, learner, state):
        jax.debug.callback(self.asked.append, level.params["name"])
        matches = state["name"] == level.params["name"]
        return jnp.where(matches & (state["alive"] == learner.age), 1000.0 + learner.value, jnp.nan)


class Watched:
    """A jitted learner, the levels whose score was asked, and how often its step was traced."""

    def __init__(self, **changes):
        self.asked, self.traces = [], []
        parts = {"stagger": False, "pack": PACK} | changes
        self.estimator = MetaGradient(Lifetime(), K)
        self.learner = MetaLearner(self.estimator, Names(), Score(self.asked), OPTIMIZER, N, **parts)
        self.init = jax.jit(self.learner.init)
        self.step = jax.jit(self._step)

    def _step(self, key, state):
        self.traces.append(state)
        return self.learner.step(key, state)


@functools.cache
def watched():
    return Watched()


def run(state, first=0, last=STEPS):
    """Steps with the keys a run would use; the states after each, and their metrics."""
    history = []
    for i in range(first, last):
        state, metrics = watched().step(jax.random.fold_in(KEY, i), state)
        history.append((state, metrics))
    return history


@functools.cache
def start():
    return watched().init(KEY, {"w": jnp.float32(0.2)})


@functools.cache
def estimate():
    return jax.jit(watched().estimator.estimate)


def test_finished_lifetimes_are_scored_and_replaced_and_the_others_go_on():
    state, numbers = start(), []
    for i in range(STEPS):
        key = jax.random.fold_in(KEY, i)
        watched().asked.clear()
        after, metrics = watched().step(key, state)
        jax.effects_barrier()
        levels = state.assignment.levels
        grads, grown, _ = estimate()(jax.random.split(key, 3)[0], state.theta, levels, state.lifetimes)
        over = np.asarray(grown.lives.age >= levels.lifetime)
        # the others are what the estimator left, on the same level
        going = jax.tree.map(lambda x, over=over: np.asarray(x)[~over], (grown, levels, state.assignment.slot))
        there = (after.lifetimes, after.assignment.levels, after.assignment.slot)
        there = jax.tree.map(lambda x, over=over: np.asarray(x)[~over], there)
        assert_ulps(there, going, ulps=2 * K, scale=1.0)  # two sums an update
        # the finished are born again, on the next levels in line
        assert (np.asarray(after.lifetimes.lives.age)[over] == 0).all()
        assert len(np.unique(after.lifetimes.lives.value)) == N
        name = np.asarray(after.assignment.levels.params["name"])
        expected = int(state.curriculum["next"]) + np.arange(over.sum())
        np.testing.assert_array_equal(name[over], expected)
        np.testing.assert_array_equal(after.scores["name"], name)
        np.testing.assert_array_equal(after.scores["alive"], after.lifetimes.lives.age)
        # and only they were scored, rounded up to whole packs
        assert len(watched().asked) == -(-over.sum() // PACK) * PACK
        scores = np.where(over, 1000 + np.asarray(grown.lives.value), 0)
        if over.any():
            np.testing.assert_array_equal(after.curriculum["finished"], over)
            np.testing.assert_allclose(after.curriculum["scores"], scores, rtol=1e-6)
        assert metrics["finished"] == over.sum()
        np.testing.assert_allclose(metrics["finished_score"], scores.sum() / max(over.sum(), 1), rtol=1e-6)
        np.testing.assert_allclose(metrics["gradient_norm"], abs(grads["w"]), rtol=1e-6)
        assert metrics["next"] == after.curriculum["next"]
        numbers.append(int(over.sum()))
        state = after
    assert 0 in numbers and max(numbers) > PACK


def test_the_optimizer_moves_theta():
    theta, opt_state = start().theta, OPTIMIZER.init(start().theta)
    before = start()
    for after, _ in run(before, last=3):
        i = int(before.step)
        key = jax.random.split(jax.random.fold_in(KEY, i), 3)[0]
        grads, *_ = estimate()(key, before.theta, before.assignment.levels, before.lifetimes)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, theta)
        theta = optax.apply_updates(theta, updates)
        np.testing.assert_allclose(after.theta["w"], theta["w"], rtol=1e-5)
        before = after
    assert int(before.step) == 3
    chex.assert_trees_all_close(before.opt_state, opt_state, rtol=1e-5)


def test_a_resumed_run_repeats_the_uninterrupted_one():
    whole = run(start())
    middle = run(start(), last=3)[-1][0]
    saved = jax.tree.map(np.array, middle)
    restored = jax.tree.map(jnp.asarray, saved)
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, start())
    resumed = run(restored, first=3)
    chex.assert_trees_all_equal(resumed[-1], whole[-1])
    assert not any(x.weak_type for x in jax.tree.leaves((start(), middle)))
    assert len(watched().traces) == 1


def broken(*which):
    """The first state, with lifetimes `which` on a level where the meta-loss is not a number."""
    names = start().assignment.levels.params["name"].at[jnp.array(which)].set(NAN_LEVEL)
    levels = start().assignment.levels.replace(params={"name": names})
    return start().replace(assignment=start().assignment.replace(levels=levels))


def test_metrics_are_scalars_and_means_over_finite_values():
    state, metrics = run(start(), last=1)[0]
    assert all(jnp.shape(x) == () for x in metrics.values())
    # "best" is minus infinity in every second update
    np.testing.assert_allclose(metrics["best"], np.arange(N).mean(), rtol=1e-6)
    assert np.isfinite(metrics["meta_loss"]) and metrics["frac_nonfinite"] == 0


def test_a_lifetime_that_is_not_finite_is_replaced_at_once_without_a_score():
    state, metrics = watched().step(KEY, broken(1))
    np.testing.assert_allclose(metrics["frac_nonfinite"], 1 / N, rtol=1e-6)
    assert np.isfinite(metrics["meta_loss"]) and metrics["gradient_norm"] > 0
    chex.assert_tree_all_finite((state.theta, state.opt_state))
    assert state.curriculum["finished"][1] and state.curriculum["scores"][1] == -np.inf
    name = state.assignment.levels.params["name"][1]
    assert name != NAN_LEVEL and name == state.scores["name"][1] and state.lifetimes.lives.age[1] == 0
    # the next step is as if nothing had happened
    _, metrics = watched().step(jax.random.key(1), state)
    assert metrics["frac_nonfinite"] == 0


def test_that_no_lifetime_is_finite_is_not_hidden():
    state, metrics = watched().step(KEY, broken(*range(N)))
    assert np.isnan(metrics["meta_loss"]) and metrics["frac_nonfinite"] == 1 and metrics["gradient_norm"] == 0
    chex.assert_tree_all_finite(state.theta)


def test_first_lives_are_staggered_and_not_recorded():
    full = jax.tree.map(np.asarray, start().assignment)
    np.testing.assert_array_equal(full.slot, np.full(N, NEW))
    staggered = Watched(stagger=True)
    several = [staggered.init(jax.random.key(seed), {"w": jnp.float32(0)}).assignment for seed in range(20)]
    lifetimes = np.stack([a.levels.lifetime for a in several])
    assert (lifetimes >= 1).all() and (lifetimes <= full.levels.lifetime).all()
    assert (lifetimes < full.levels.lifetime).mean() > 0.3 and (lifetimes.std(0)[full.levels.lifetime > 3] > 0.5).all()
    for assignment in several:
        np.testing.assert_array_equal(assignment.slot, np.full(N, UNTRACKED))
        np.testing.assert_array_equal(assignment.levels.params["name"], full.levels.params["name"])


@dataclass(frozen=True)
class Careless:
    """A curriculum that draws twice with one key."""

    careful: Replay

    def init(self, key, num):
        return self.careful.init(key, num)

    def exchange(self, key, *args):
        first, _ = self.careful.exchange(key, *args)
        return self.careful.exchange(key, first, *args[1:])

    def metrics(self, state):
        return self.careful.metrics(state)


def groove():
    """The whole of GROOVE, on two states."""

    def generator(key):
        key_reward, key_life = jax.random.split(key)
        one = level(lifetime=4)
        reward = jax.random.normal(key_reward, (2, 2))
        lifetime = jax.random.randint(key_life, (), 1, 5)
        return one.replace(params=one.params.replace(reward=reward), lifetime=lifetime)

    protagonist, antagonist = life(), life(A2C(), baseline=None)
    returns = [MeanReturn(Pair(), one.agent.act, 2, 5) for one in (protagonist, antagonist)]
    score = AlgorithmicRegret(antagonist=antagonist, num_updates=K, evaluate=returns[0], evaluate_antagonist=returns[1])
    estimator = MetaGradient(protagonist, K, LPGPenalty())
    return MetaLearner(estimator, Replay(generator=generator, capacity=4), score, OPTIMIZER, 2)


def test_no_key_is_used_twice(monkeypatch):
    learner = groove()
    theta = random_theta(learner.estimator.lifetime.objective)
    state = keys.trace(monkeypatch, learner.init, KEY, theta)
    moved, metrics = keys.trace(monkeypatch, learner.step, KEY, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, state)
    assert {"meta_loss", "finished_score", "best_return", "policy_entropy"} <= set(metrics)
    # the checker would have noticed
    twice = dataclasses.replace(learner, curriculum=Careless(learner.curriculum))
    with pytest.raises(jax.errors.KeyReuseError):
        keys.trace(monkeypatch, twice.step, KEY, state)


def test_bad_values():
    for name in ("num_lifetimes", "pack"):
        parts = {"num_lifetimes": 2, "pack": 1} | {name: 0}
        with pytest.raises(ValueError, match=f"MetaLearner: {name}"):
            MetaLearner(MetaGradient(Lifetime()), Names(), Score([]), OPTIMIZER, **parts)
