"""`MetaLearner` with instrumented parts: replaced lifetimes, computed scores, carried state, metrics, keys."""

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
from lopt.objectives import A2C, LPGRegulariser
from lopt.types import NEW, UNTRACKED, Assignment, Level, UpdateInfo
from tests.reference import keys
from tests.reference.lifetimes import random_theta, rl_lifetime
from tests.reference.pair import Pair, level
from tests.reference.ulps import assert_ulps

N, K, PACK, STEPS = 5, 2, 2, 8
KEY = jax.random.key(0)
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.05))
NAN_LEVEL = 666


class LearnerState(struct.PyTreeNode):
    """Value and age of a learner."""

    value: jax.Array
    age: jax.Array


class Updates(struct.PyTreeNode):
    """What the score reads of an update."""

    active: jax.Array
    best: jax.Array


class Lifetime:
    """Every update adds theta and noise to the value; the meta-loss is its squared difference from 3."""

    def init(self, key, theta, level):
        return LearnerState(jax.random.normal(key), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        active = level.active(state.age)
        value = state.value + jnp.where(active, theta["w"] + jax.random.normal(key), 0)
        best = jnp.where(state.age % 2 == 0, level.params["name"] * 1.0, -jnp.inf)
        return LearnerState(value, state.age + active), UpdateInfo({"best": best}, scores=Updates(active * 1.0, best))

    def meta_loss(self, key, theta, level, state):
        nan_or_zero = jnp.where(level.params["name"] == NAN_LEVEL, jnp.nan, 0.0)
        return (state.value - 3.0) ** 2 + nan_or_zero, state, {}

    def age(self, state):
        return state.age


def level_of(name):
    """The level with that number, whose lifetime is 2 to 8 updates."""
    return Level(params={"name": name}, num_updates=2 + 5 * name % 7)


class Enumeration:
    """Curriculum that assigns the levels in order and records the last exchange."""

    def init(self, key, num):
        record = {"next": jnp.int32(num), "scores": jnp.zeros(num), "finished": jnp.zeros(num, bool)}
        return record, Assignment(level_of(jnp.arange(num)), jnp.full(num, NEW, jnp.int32))

    def exchange(self, key, state, assignment, scores, finished):
        name = state["next"] + jnp.cumsum(finished) - 1
        levels = tree.where(finished, level_of(name), assignment.levels)
        slot = jnp.where(finished, NEW, assignment.slot)
        record = {"next": state["next"] + finished.sum(), "scores": scores, "finished": finished}
        return record, Assignment(levels, slot)

    def metrics(self, state):
        return {"next": state["next"]}


@dataclass(frozen=True)
class Score:
    """The learner's value plus 1000; records the levels it is called for."""

    scored: list

    def __hash__(self):
        return 0

    def init(self, key, level):
        return {"name": level.params["name"], "active": jnp.zeros(())}

    def advance(self, key, level, state, updates):
        return state | {"active": state["active"] + jnp.nansum(updates.active)}

    def score(self, key, level, learner, state):
        jax.debug.callback(self.scored.append, level.params["name"])
        matches = state["name"] == level.params["name"]
        return jnp.where(matches & (state["active"] == learner.age), 1000.0 + learner.value, jnp.nan)


class InstrumentedLearner:
    """A jitted `MetaLearner` that records the scored levels and the traces of its step."""

    def __init__(self, **changes):
        self.scored, self.traces = [], []
        parts = {"stagger": False, "pack": PACK} | changes
        self.estimator = MetaGradient(lifetime=Lifetime(), num_updates=K)
        self.learner = MetaLearner(
            estimator=self.estimator,
            curriculum=Enumeration(),
            score=Score(self.scored),
            optimizer=OPTIMIZER,
            num_lifetimes=N,
            **parts,
        )
        self.init = jax.jit(self.learner.init)
        self.step = jax.jit(self._step)

    def _step(self, key, state):
        self.traces.append(state)
        return self.learner.step(key, state)


@functools.cache
def instrumented():
    return InstrumentedLearner()


def run(state, first=0, last=STEPS):
    """Meta-steps with the keys of a run: `(state, metrics)` after each."""
    history = []
    for i in range(first, last):
        state, metrics = instrumented().step(jax.random.fold_in(KEY, i), state)
        history.append((state, metrics))
    return history


@functools.cache
def initial_state():
    return instrumented().init(KEY, {"w": jnp.float32(0.2)})


@functools.cache
def estimate():
    return jax.jit(instrumented().estimator.estimate)


def test_finished_lifetimes_are_scored_and_replaced_and_the_others_continue():
    state, counts = initial_state(), []
    for i in range(STEPS):
        key = jax.random.fold_in(KEY, i)
        instrumented().scored.clear()
        after, metrics = instrumented().step(key, state)
        jax.effects_barrier()
        levels = state.assignment.levels
        grads, advanced, _ = estimate()(jax.random.split(key, 3)[0], state.theta, levels, state.estimator_state)
        ended = np.asarray(advanced.per_lifetime.age >= levels.num_updates)
        # unfinished lifetimes are as the estimator returned them, on the same levels
        expected = jax.tree.map(lambda x, ended=ended: np.asarray(x)[~ended], (advanced, levels, state.assignment.slot))
        found = (after.estimator_state, after.assignment.levels, after.assignment.slot)
        found = jax.tree.map(lambda x, ended=ended: np.asarray(x)[~ended], found)
        assert_ulps(found, expected, ulps=2 * K, scale=1.0)  # two sums an update
        # finished lifetimes are replaced by initial learners on the next levels
        assert (np.asarray(after.estimator_state.per_lifetime.age)[ended] == 0).all()
        assert len(np.unique(after.estimator_state.per_lifetime.value)) == N
        name = np.asarray(after.assignment.levels.params["name"])
        expected = int(state.curriculum["next"]) + np.arange(ended.sum())
        np.testing.assert_array_equal(name[ended], expected)
        np.testing.assert_array_equal(after.scores["name"], name)
        np.testing.assert_array_equal(after.scores["active"], after.estimator_state.per_lifetime.age)
        # only finished lifetimes were scored, rounded up to whole packs
        assert len(instrumented().scored) == -(-ended.sum() // PACK) * PACK
        scores = np.where(ended, 1000 + np.asarray(advanced.per_lifetime.value), 0)
        if ended.any():
            np.testing.assert_array_equal(after.curriculum["finished"], ended)
            np.testing.assert_allclose(after.curriculum["scores"], scores, rtol=1e-6)
        assert metrics["finished"] == ended.sum()
        np.testing.assert_allclose(metrics["finished_score"], scores.sum() / max(ended.sum(), 1), rtol=1e-6)
        np.testing.assert_allclose(metrics["gradient_norm"], abs(grads["w"]), rtol=1e-6)
        assert metrics["next"] == after.curriculum["next"]
        counts.append(int(ended.sum()))
        state = after
    assert 0 in counts and max(counts) > PACK


def test_the_optimizer_moves_theta():
    theta, opt_state = initial_state().theta, OPTIMIZER.init(initial_state().theta)
    before = initial_state()
    for after, _ in run(before, last=3):
        i = int(before.step)
        key = jax.random.split(jax.random.fold_in(KEY, i), 3)[0]
        grads, *_ = estimate()(key, before.theta, before.assignment.levels, before.estimator_state)
        updates, opt_state = OPTIMIZER.update(grads, opt_state, theta)
        theta = optax.apply_updates(theta, updates)
        np.testing.assert_allclose(after.theta["w"], theta["w"], rtol=1e-5)
        before = after
    assert int(before.step) == 3
    chex.assert_trees_all_close(before.opt_state, opt_state, rtol=1e-5)


def test_a_resumed_run_repeats_the_uninterrupted_one():
    whole = run(initial_state())
    middle = run(initial_state(), last=3)[-1][0]
    checkpoint = jax.tree.map(np.array, middle)
    restored = jax.tree.map(jnp.asarray, checkpoint)
    chex.assert_trees_all_equal_shapes_and_dtypes(restored, initial_state())
    resumed = run(restored, first=3)
    chex.assert_trees_all_equal(resumed[-1], whole[-1])
    assert not any(x.weak_type for x in jax.tree.leaves((initial_state(), middle)))
    assert len(instrumented().traces) == 1


def with_nan_levels(*index):
    """The initial state, with the lifetimes at `index` on a level where the meta-loss is NaN."""
    names = initial_state().assignment.levels.params["name"].at[jnp.array(index)].set(NAN_LEVEL)
    levels = initial_state().assignment.levels.replace(params={"name": names})
    return initial_state().replace(assignment=initial_state().assignment.replace(levels=levels))


def test_metrics_are_scalars_and_means_over_finite_values():
    state, metrics = run(initial_state(), last=1)[0]
    assert all(jnp.shape(x) == () for x in metrics.values())
    # "best" is minus infinity in every second update
    np.testing.assert_allclose(metrics["best"], np.arange(N).mean(), rtol=1e-6)
    assert np.isfinite(metrics["meta_loss"]) and metrics["frac_nonfinite"] == 0


def test_a_nonfinite_lifetime_is_replaced_at_once_without_a_score():
    state, metrics = instrumented().step(KEY, with_nan_levels(1))
    np.testing.assert_allclose(metrics["frac_nonfinite"], 1 / N, rtol=1e-6)
    assert np.isfinite(metrics["meta_loss"]) and metrics["gradient_norm"] > 0
    chex.assert_tree_all_finite((state.theta, state.opt_state))
    assert state.curriculum["finished"][1] and state.curriculum["scores"][1] == -np.inf
    name = state.assignment.levels.params["name"][1]
    assert name != NAN_LEVEL and name == state.scores["name"][1] and state.estimator_state.per_lifetime.age[1] == 0
    # the next step has finite losses alone
    _, metrics = instrumented().step(jax.random.key(1), state)
    assert metrics["frac_nonfinite"] == 0


def test_the_meta_loss_is_nan_if_no_lifetime_is_finite():
    state, metrics = instrumented().step(KEY, with_nan_levels(*range(N)))
    assert np.isnan(metrics["meta_loss"]) and metrics["frac_nonfinite"] == 1 and metrics["gradient_norm"] == 0
    chex.assert_tree_all_finite(state.theta)


def test_first_lifetimes_are_staggered_and_not_recorded():
    full = jax.tree.map(np.asarray, initial_state().assignment)
    np.testing.assert_array_equal(full.slot, np.full(N, NEW))
    staggered = InstrumentedLearner(stagger=True)
    several = [staggered.init(jax.random.key(seed), {"w": jnp.float32(0)}).assignment for seed in range(20)]
    lifetimes = np.stack([a.levels.num_updates for a in several])
    assert (lifetimes >= 1).all() and (lifetimes <= full.levels.num_updates).all()
    assert (lifetimes < full.levels.num_updates).mean() > 0.3 and (
        lifetimes.std(0)[full.levels.num_updates > 3] > 0.5
    ).all()
    for assignment in several:
        np.testing.assert_array_equal(assignment.slot, np.full(N, UNTRACKED))
        np.testing.assert_array_equal(assignment.levels.params["name"], full.levels.params["name"])


@dataclass(frozen=True)
class KeyReusingCurriculum:
    """A curriculum that uses one key twice."""

    curriculum: Replay

    def init(self, key, num):
        return self.curriculum.init(key, num)

    def exchange(self, key, *args):
        first, _ = self.curriculum.exchange(key, *args)
        return self.curriculum.exchange(key, first, *args[1:])

    def metrics(self, state):
        return self.curriculum.metrics(state)


def groove():
    """GROOVE on an environment with two states."""

    def generator(key):
        key_reward, key_lifetime = jax.random.split(key)
        base = level(num_updates=4)
        reward = jax.random.normal(key_reward, (2, 2))
        lifetime = jax.random.randint(key_lifetime, (), 1, 5)
        return base.replace(params=base.params.replace(reward=reward), num_updates=lifetime)

    protagonist, antagonist = rl_lifetime(regulariser=LPGRegulariser()), rl_lifetime(A2C(), baseline=None)
    returns = [
        MeanReturn(env=Pair(), policy=lifetime.agent.act, num_episodes=2, max_steps=5)
        for lifetime in (protagonist, antagonist)
    ]
    score = AlgorithmicRegret(antagonist=antagonist, num_updates=K, evaluate=returns[0], evaluate_antagonist=returns[1])
    estimator = MetaGradient(lifetime=protagonist, num_updates=K)
    return MetaLearner(
        estimator=estimator,
        curriculum=Replay(generator=generator, capacity=4),
        score=score,
        optimizer=OPTIMIZER,
        num_lifetimes=2,
    )


def test_no_key_is_used_twice(monkeypatch):
    learner = groove()
    theta = random_theta(learner.estimator.lifetime.objective)
    state = keys.trace(monkeypatch, learner.init, KEY, theta)
    after, metrics = keys.trace(monkeypatch, learner.step, KEY, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert {"meta_loss", "finished_score", "best_return", "policy_entropy"} <= set(metrics)
    # the check detects a key that is used twice
    reusing = dataclasses.replace(learner, curriculum=KeyReusingCurriculum(learner.curriculum))
    with pytest.raises(jax.errors.KeyReuseError):
        keys.trace(monkeypatch, reusing.step, KEY, state)


def test_bad_values():
    for name in ("num_lifetimes", "pack"):
        parts = {"num_lifetimes": 2, "pack": 1} | {name: 0}
        with pytest.raises(ValueError, match=f"MetaLearner: {name}"):
            MetaLearner(
                estimator=MetaGradient(lifetime=Lifetime()),
                curriculum=Enumeration(),
                score=Score([]),
                optimizer=OPTIMIZER,
                **parts,
            )
