"""Laws of every curriculum and of every score."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from experiments.grid.compat import GrooveCompat
from lopt import tree
from lopt.curriculum import (
    AlgorithmicRegret,
    DomainRandomisation,
    FrozenSet,
    L1ValueLoss,
    LifetimeReward,
    MaxMC,
    OracleRegret,
    PositiveValueLoss,
    RateBandit,
    Replay,
    TopK,
    Uniform,
)
from lopt.protocols import Curriculum, Score
from lopt.types import NEW, UNTRACKED, Assignment, Level, UpdateInfo, ValueScores

N, K, STEPS = 4, 3, 30
KEY = jax.random.key(0)


def generator(key):
    """A level whose leaves all follow from one number, so that mixed-up leaves are detected."""
    name = jax.random.randint(key, (), 0, 1000)
    return Level(params={"name": name, "goal": name * jnp.arange(2.0)}, num_updates=name % 9 + 1)


def level_set():
    return jax.vmap(generator)(jax.random.split(KEY, 7))


CURRICULA = {
    "DomainRandomisation": lambda: DomainRandomisation(generator),
    "FrozenSet": lambda: FrozenSet(level_set()),
    "GrooveCompat": lambda: GrooveCompat(generator=generator, capacity=12),
    "GrooveCompat without its defects": lambda: GrooveCompat(
        generator=generator, capacity=12, reset_bug=False, top_transform=False
    ),
    "RateBandit": lambda: RateBandit(
        curriculum=DomainRandomisation(generator), arms=((1.0, 1.0), (2.0, 0.5), (4.0, 1.0))
    ),
    "Replay": lambda: Replay(generator=generator, capacity=8, staleness=0.2),
    "Replay, top k": lambda: Replay(generator=generator, capacity=8, priority=TopK(3), dedupe=False),
}


@cache
def curriculum(name):
    return CURRICULA[name]()


@cache
def jitted(name):
    """`init` and `exchange`, compiled once for the whole file."""
    c, traces = curriculum(name), []

    def exchange(*args):
        # chex.assert_max_traces counts all curricula of one class as one
        traces.append(args)
        assert len(traces) == 1, "exchange is traced more than once"
        return c.exchange(*args)

    return jax.jit(c.init, static_argnums=1), jax.jit(exchange)


@cache
def exchanges(name):
    """STEPS exchanges, each `(before, scores, finished, after, state)`."""
    init, exchange = jitted(name)
    rng = np.random.default_rng(0)
    state, assignment = init(KEY, N)
    history = []
    for key in jax.random.split(KEY, STEPS):
        before, finished = assignment, jnp.array(rng.random(N) < 0.5)
        scores = jnp.array(rng.choice([-1.5, -2.5, -7.0, np.nan, -np.inf], N), jnp.float32)
        state, assignment = exchange(key, state, before, scores, finished)
        history.append((before, scores, finished, assignment, state))
    return history


for_curricula = pytest.mark.parametrize("name", CURRICULA)


@for_curricula
def test_curriculum_has_the_methods_and_hashes(name):
    assert isinstance(curriculum(name), Curriculum)
    assert isinstance(hash(curriculum(name)), int)


@for_curricula
def test_first_assignment(name):
    state, assignment = jitted(name)[0](KEY, N)
    assert isinstance(assignment, Assignment)
    chex.assert_shape(assignment.slot, (N,))
    chex.assert_type(assignment.slot, jnp.int32)
    assert all(x.shape[0] == N for x in jax.tree.leaves(assignment.levels))
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(state))


@for_curricula
def test_unfinished_lifetimes_are_untouched(name):
    for before, _, finished, after, _ in exchanges(name):
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(new[~finished], old[~finished])


@for_curricula
def test_no_slot_is_assigned_twice_and_finished_lifetimes_have_a_slot_or_are_new(name):
    for _, _, finished, after, _ in exchanges(name):
        slot = np.asarray(after.slot)
        in_use = slot[slot >= 0]
        assert len(set(in_use.tolist())) == len(in_use)
        assert (slot[finished] >= NEW).all()


@for_curricula
def test_assigned_levels_are_consistent_in_all_leaves(name):
    for *_, after, _ in exchanges(name):
        number = np.asarray(after.levels.params["name"])
        np.testing.assert_array_equal(after.levels.num_updates, number % 9 + 1)
        np.testing.assert_array_equal(after.levels.params["goal"], number[:, None] * np.arange(2.0))


@for_curricula
def test_an_assigned_slot_contains_the_assigned_level(name):
    for *_, after, state in exchanges(name):
        for n in np.flatnonzero(np.asarray(after.slot) >= 0):
            slot = after.slot[n]
            assert int(state.levels.params["name"][slot]) == int(after.levels.params["name"][n])


@for_curricula
def test_state_and_metrics_are_stable_and_finite(name):
    c = curriculum(name)
    *_, state = exchanges(name)[-1]
    chex.assert_trees_all_equal_shapes_and_dtypes(state, jitted(name)[0](KEY, N)[0])
    metrics = c.metrics(state)
    assert all(jnp.shape(v) == () and jnp.isfinite(v) for v in metrics.values())
    if "score_max" in metrics:
        assert float(metrics["score_mean"]) < 0


@for_curricula
def test_exchange_depends_on_its_key_only(name):
    before, scores, *_, state = exchanges(name)[-1]

    def assigned(key):
        after = jitted(name)[1](key, state, before, scores, jnp.ones(N, bool))[1]
        return after.levels.params["name"].tolist()

    assert assigned(KEY) == assigned(KEY) != assigned(jax.random.key(9))
    assert len(set(assigned(KEY))) > 1


@for_curricula
def test_curriculum_uses_no_key_twice(name, monkeypatch):
    def masked_map(f, mask, init, *args):
        return tree.where(mask, jax.vmap(f)(*args), init)

    # a while loop that takes some rows of an array of keys looks like reuse to the checker
    monkeypatch.setattr(tree, "masked_map", masked_map)
    c = CURRICULA[name]()
    state, assignment = jitted(name)[0](KEY, N)
    with jax.debug_key_reuse(True):
        jax.jit(c.init, static_argnums=1).trace(jax.random.key(0), N)
        jax.jit(c.exchange).trace(jax.random.key(1), state, assignment, jnp.zeros(N), jnp.ones(N, bool))


@for_curricula
def test_scores_of_untracked_lifetimes_are_not_recorded(name):
    init, exchange = jitted(name)
    state, assignment = init(KEY, N)
    assignment = assignment.replace(slot=jnp.full((N,), UNTRACKED, jnp.int32))
    state, after = exchange(KEY, state, assignment, jnp.full(N, 77.0, jnp.float32), jnp.ones(N, bool))
    assert all((x != 77).all() for x in jax.tree.leaves(getattr(state, "score", ())))
    assert (after.slot >= NEW).all()


class Learner(struct.PyTreeNode):
    """Learner state: age and value."""

    age: jax.Array
    value: jax.Array


class FakeLifetime:
    """Lifetime whose learner's value increases by the sum of the level's goal and noise."""

    def init(self, key, theta, level):
        return Learner(jnp.int32(0), jax.random.normal(key))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        gain = jnp.where(active, level.params["goal"].sum() + jax.random.normal(key), 0.0)
        return Learner(state.age + active, state.value + gain), UpdateInfo({})

    def meta_loss(self, key, theta, level, state):
        return -state.value, state, {}

    def age(self, state):
        return state.age


def value_of(key, level, learner):
    return learner.value + jax.random.normal(key)


SCORES = {
    "AlgorithmicRegret": AlgorithmicRegret(
        antagonist=FakeLifetime(), num_updates=K, evaluate=value_of, evaluate_antagonist=value_of
    ),
    "L1ValueLoss": L1ValueLoss(),
    "LifetimeReward": LifetimeReward(),
    "MaxMC": MaxMC(),
    "OracleRegret": OracleRegret(oracle=lambda key, level: level.params["goal"].sum(), evaluate=value_of),
    "PositiveValueLoss": PositiveValueLoss(),
    "Uniform": Uniform(),
}
DEFINED_AT_INITIALISATION = ("AlgorithmicRegret", "OracleRegret", "Uniform")
for_scores = pytest.mark.parametrize("name", SCORES)


def updates_of(key):
    """What K updates of an RL lifetime report, on a level whose returns are all negative."""
    return ValueScores(*(-1.0 - jax.random.uniform(key, (5, K))))


def score_of_lifetime(score, key, level):
    """`init`, three windows of `advance`, and `score`, in the order of `MetaLearner`."""
    key_init, key_windows, key_metrics, key_score, key_value = jax.random.split(key, 5)

    def window(state, keys):
        return score.advance(keys[0], level, state, updates_of(keys[1])), None

    keys = jax.random.split(key_windows, 3), jax.random.split(key_metrics, 3)
    state, _ = jax.lax.scan(window, score.init(key_init, level), keys)
    learner = Learner(jnp.int32(9), jax.random.normal(key_value))
    return score.score(key_score, level, learner, state), state


@for_scores
def test_score_has_the_methods_and_hashes(name):
    assert isinstance(SCORES[name], Score)
    assert isinstance(hash(SCORES[name]), int)


@for_scores
def test_score_is_a_float_for_one_lifetime_and_vmaps(name):
    compute = partial(score_of_lifetime, SCORES[name])
    keys, levels = jax.random.split(KEY, N), tree.take(level_set(), slice(N))
    batched, states = jax.jit(jax.vmap(compute))(keys, levels)
    chex.assert_shape(batched, (N,))
    chex.assert_type(batched, jnp.float32)
    assert jnp.isfinite(batched).all()
    assert all(isinstance(x, jax.Array) and x.shape[0] == N for x in jax.tree.leaves(states))
    one, _ = jax.jit(compute)(keys[1], tree.take(levels, 1))
    np.testing.assert_allclose(one, batched[1], rtol=1e-5)


@for_scores
def test_score_uses_no_key_twice(name):
    level = generator(KEY)
    with jax.debug_key_reuse(True):
        jax.jit(partial(score_of_lifetime, SCORES[name])).trace(jax.random.key(2), level)


@for_scores
def test_score_without_a_measurement_is_minus_infinity(name):
    level = generator(KEY)
    state = SCORES[name].init(KEY, level)
    value = SCORES[name].score(KEY, level, Learner(jnp.int32(0), jnp.float32(0)), state)
    assert jnp.isfinite(value) if name in DEFINED_AT_INITIALISATION else value == -jnp.inf
