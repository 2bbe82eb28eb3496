"""The replay buffer: equality with a reference implementation in plain Python, and its rules one by one."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt.curriculum import ACTIVE, EMPTY, SCORED, Buffer, Proportional, Rank, Replay, extremes
from lopt.curriculum.buffer import fingerprint
from lopt.types import NEW, UNTRACKED, Assignment, Level
from tests.curriculum.reference_buffer import ReferenceBuffer

N, C, STEPS, SEEDS = 4, 8, 200, 4
KEY = jax.random.key(0)


def level_of(name):
    """Level number `name`; all other leaves follow from it."""
    name = jnp.asarray(name, jnp.int32)
    return Level(params={"name": name, "reward": name * jnp.arange(3.0)}, num_updates=name % 7 + 1)


def generator(key):
    """One of 20 levels, so that duplicates are generated."""
    return level_of(jax.random.randint(key, (), 0, 20))


# two configurations, so that `exchange` is compiled twice only
DEFAULT = Replay(generator=generator, capacity=C, staleness=0.3, priority=Rank(0.5))
ALWAYS = Replay(
    generator=generator,
    capacity=C,
    replay_probability=1.0,
    priority=Proportional(2.0),
    minimum_fill=2,
    dedupe=False,
)


@partial(jax.jit, static_argnums=0)
def exchange(replay, key, state, assignment, scores, finished):
    """`replay.exchange`, compiled once for each configuration."""
    return replay.exchange(key, state, assignment, scores, finished)


LEVELS = jax.jit(jax.vmap(level_of))
CODES = jax.jit(jax.vmap(fingerprint))


def assignment_of(names, slots):
    """An assignment of the levels with these names."""
    return Assignment(levels=LEVELS(jnp.array(names)), slot=jnp.array(slots, jnp.int32))


def finished_at(*index):
    """The mask of finished lifetimes, true at `index`."""
    return jnp.array([n in index for n in range(N)])


def filled(names, scores, active=(), last_seen=10):
    """A buffer with the named levels in its first slots, after 10 finished lifetimes."""
    more = C - len(names)
    levels = LEVELS(jnp.array(names + [0] * more))
    status = [ACTIVE if slot in active else SCORED for slot in range(len(names))] + [EMPTY] * more
    return Buffer(
        levels=levels,
        score=jnp.array(scores + [-jnp.inf] * more, jnp.float32),
        last_seen=jnp.broadcast_to(jnp.int32(last_seen), (C,)),
        fingerprint=CODES(levels),
        status=jnp.array(status, jnp.int32),
        num_finished=jnp.int32(10),
        replay_fraction=jnp.float32(0),
    )


def in_buffer(state):
    """`(names, scores, statuses)` of the slots with a level, which are the first ones in these tests."""
    used = int((state.status != EMPTY).sum())
    return tuple(x.tolist()[:used] for x in (state.levels.params["name"], state.score, state.status))


def random_run(replay, seed):
    """STEPS exchanges with random finished lifetimes, tied and non-finite scores, and slots set to `UNTRACKED`."""
    rng = np.random.default_rng(seed)
    key_init, key_run = jax.random.split(jax.random.key(seed))
    state, assignment = jax.jit(replay.init, static_argnums=1)(key_init, N)
    for key in jax.random.split(key_run, STEPS):
        finished = rng.random(N) < rng.random()
        kinds = [0] * 17 + [np.nan, -np.inf, np.inf]
        scores = (rng.integers(-12, 3, N) / 2 + rng.choice(kinds, N)).astype(np.float32)
        slot = np.where(rng.random(N) < 0.05, UNTRACKED, assignment.slot).astype(np.int32)
        before = assignment.replace(slot=jnp.array(slot))
        state, assignment = exchange(replay, key, state, before, jnp.array(scores), jnp.array(finished))
        yield before, scores, finished, state, assignment


def as_pairs(assignment):
    """`((name, lifetime), slot)` for each lifetime."""
    names, lifetimes = assignment.levels.params["name"].tolist(), assignment.levels.num_updates.tolist()
    return list(zip(zip(names, lifetimes, strict=True), assignment.slot.tolist(), strict=True))


def check_same(state, reference):
    """Compare the arrays of a buffer with the reference."""
    fields = (state.levels.params["name"], state.levels.num_updates, state.score, state.last_seen, state.status)
    rows = list(zip(*(x.tolist() for x in fields), strict=True))
    for slot, row in enumerate(rows):
        entry = reference.entries.get(slot)
        if entry is None:
            assert row[-1] == EMPTY
        else:
            status = SCORED if entry.num_updates is None else ACTIVE
            assert row == (*entry.level, entry.score, entry.last_seen, status)
    assert int(state.num_finished) == reference.num_finished
    assert float(state.replay_fraction) == pytest.approx(reference.replay_fraction)


def check_invariants(replay, before, finished, state, after):
    slot, status = np.asarray(after.slot), np.asarray(state.status)
    in_use = slot[slot >= 0]
    assert len(set(in_use)) == len(in_use) == (status == ACTIVE).sum()
    assert np.isfinite(state.score[status != EMPTY]).all()
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(np.asarray(new)[~finished], np.asarray(old)[~finished])
    name = np.asarray(after.levels.params["name"])
    np.testing.assert_array_equal(after.levels.num_updates, name % 7 + 1)
    np.testing.assert_array_equal(after.levels.params["reward"], name[:, None] * np.arange(3.0))
    if replay.dedupe:
        names = np.asarray(state.levels.params["name"])[status != EMPTY]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("replay", [DEFAULT, ALWAYS], ids=["default", "always, with duplicates"])
def test_every_exchange_equals_the_reference(replay):
    replays = trials = 0
    fill = N if replay.minimum_fill is None else replay.minimum_fill
    for seed in range(SEEDS):
        reference = ReferenceBuffer(C, fill, replay.dedupe)
        for before, scores, finished, state, after in random_run(replay, seed):
            old, new, ended = as_pairs(before), as_pairs(after), finished.tolist()
            reference.write([lv for lv, _ in old], [s for _, s in old], scores.tolist(), ended)
            taken, replayable = reference.assign(old, new, ended)
            check_same(state, reference)
            check_invariants(replay, before, finished, state, after)
            if replayable >= fill:
                replays, trials = replays + taken, trials + min(sum(ended), replayable)
    assert trials > 500
    assert stats.binomtest(replays, trials, replay.replay_probability).pvalue > 1e-3


def test_an_exchange_without_finished_lifetimes_changes_nothing():
    state, assignment = filled([3, 4, 5], [1.0, 2.0, 3.0], active=[1]), assignment_of([4, 9, 8, 7], [1, NEW, NEW, NEW])
    after = exchange(DEFAULT, KEY, state, assignment, jnp.zeros(N), finished_at())
    chex.assert_trees_all_equal(after, (state, assignment))


def test_negative_scores_are_ordered():
    """With a maximum that starts at 0 all of them would be equal."""
    scores = [-1.0, -8.0, -2.0, -4.0, -3.0, -3.0, -3.0, -3.0]
    state, assignment = filled([1, 2, 3, 4, 5, 6, 7, 8], scores), assignment_of([9, 10, 11, 12], [NEW] * N)
    values = jnp.array([-9.0, -3.5, -20.0, -4.0])
    state, _ = exchange(DEFAULT, KEY, state, assignment, values, finished_at(0, 1, 2, 3))
    assert in_buffer(state)[:2] == ([1, 10, 3, 4, 5, 6, 7, 8], [-1.0, -3.5, -2.0, -4.0] + [-3.0] * 4)
    assert float(DEFAULT.metrics(state)["score_max"]) == -1.0


def test_active_levels_are_neither_replaced_nor_replayed():
    scores = [-5.0, -6.0, -7.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    state = filled([1, 2, 3, 4, 5, 6, 7, 8], scores, active=[0, 1, 2])
    assignment, values = assignment_of([1, 2, 3, 9], [0, 1, 2, NEW]), jnp.full(N, 9.0, jnp.float32)
    for seed in range(20):
        after, successor = exchange(ALWAYS, jax.random.key(seed), state, assignment, values, finished_at(3))
        assert in_buffer(after)[0] == [1, 2, 3, 9, 5, 6, 7, 8]
        assert successor.slot.tolist()[:3] == [0, 1, 2]
        assert int(successor.slot[3]) >= 3


@pytest.mark.parametrize("bad", [np.nan, -np.inf, np.inf])
def test_a_nonfinite_score_releases_the_slot_and_keeps_its_score(bad):
    state, assignment = filled([1, 2], [1.5, 2.5], active=[0]), assignment_of([1, 5, 6, 7], [0, NEW, NEW, NEW])
    state, after = exchange(DEFAULT, KEY, state, assignment, jnp.full(N, bad, jnp.float32), finished_at(0, 1))
    assert in_buffer(state) == ([1, 2], [1.5, 2.5], [SCORED, SCORED])
    assert after.slot.tolist() == [NEW] * N


def test_untracked_lifetimes_are_not_recorded():
    state, assignment = filled([1, 2], [1.5, 2.5]), assignment_of([1, 5, 6, 7], [UNTRACKED] * N)
    after, successor = exchange(DEFAULT, KEY, state, assignment, jnp.full(N, 9.0, jnp.float32), finished_at(0, 1))
    chex.assert_trees_all_equal(after.replace(num_finished=state.num_finished), state)
    assert successor.slot.tolist() == [NEW, NEW, UNTRACKED, UNTRACKED]


def test_a_slot_that_is_no_longer_assigned_is_released():
    state, assignment = filled([1, 2], [1.5, 2.5], active=[0]), assignment_of([1, 5, 6, 7], [UNTRACKED, NEW, NEW, NEW])
    state, _ = exchange(DEFAULT, KEY, state, assignment, jnp.full(N, 9.0, jnp.float32), finished_at())
    assert in_buffer(state) == ([1, 2], [1.5, 2.5], [SCORED, SCORED])


@pytest.mark.parametrize(
    ("replay", "names", "scores"),
    [(DEFAULT, [1, 2, 7], [9.0, 2.5, 4.0]), (ALWAYS, [1, 2, 1, 7, 7], [1.5, 2.5, 9.0, 4.0, 3.0])],
)
def test_duplicates_of_a_level(replay, names, scores):
    """Level 1 is in slot 0; level 7 is assigned to two lifetimes, of which the last one's score is used."""
    state, assignment = filled([1, 2], [1.5, 2.5]), assignment_of([7, 1, 7, 8], [NEW] * N)
    values = jnp.array([3.0, 9.0, 4.0, -jnp.inf])
    state, _ = exchange(replay, KEY, state, assignment, values, finished_at(0, 1, 2, 3))
    assert in_buffer(state)[:2] == (names, scores)


def test_a_duplicate_of_an_active_level_updates_its_score_only():
    state, assignment = filled([1, 2], [1.5, 2.5], active=[0]), assignment_of([1, 1, 6, 7], [0, NEW, NEW, NEW])
    state, after = exchange(DEFAULT, KEY, state, assignment, jnp.full(N, 5.0, jnp.float32), finished_at(1))
    assert in_buffer(state) == ([1, 2], [5.0, 2.5], [ACTIVE, SCORED])
    assert after.slot.tolist() == [0, NEW, NEW, NEW]


@pytest.mark.parametrize(("replayable", "replays"), [(1, 0), (2, 2), (3, 3)])
def test_minimum_fill(replayable, replays):
    """Of three finished lifetimes none replays with fewer than two replayable levels, else as many as there are."""
    state = filled([1, 2, 3][:replayable], [1.5, 2.5, 3.5][:replayable])
    assignment = assignment_of([5, 6, 7, 8], [NEW] * N)
    state, after = exchange(ALWAYS, KEY, state, assignment, jnp.full(N, jnp.nan, jnp.float32), finished_at(0, 1, 3))
    assert (np.asarray(after.slot) >= 0).sum() == replays
    assert float(state.replay_fraction) == pytest.approx(replays / 3)


def test_replays_follow_probability_and_weights():
    """20,000 exchanges from one buffer: frequencies of replays and of the replayed levels, with staleness."""
    last_seen = np.array([8, 2, 6, 9, 0, 0, 0, 0])
    state = filled([1, 2, 3, 4], [-1.0, -3.0, -2.0, -2.0], last_seen=last_seen)
    assignment, values = assignment_of([5, 6, 7, 8], [UNTRACKED, NEW, NEW, NEW]), jnp.zeros(N)

    def slot(key):
        return DEFAULT.exchange(key, state, assignment, values, finished_at(0))[1].slot[0]

    slots = np.asarray(jax.jit(jax.vmap(slot))(jax.random.split(jax.random.key(3), 20_000)))
    assert stats.binomtest(int((slots >= 0).sum()), len(slots), 0.5).pvalue > 1e-3
    age, rank = 11 - last_seen[:4], np.array([1.0, 4, 2, 2]) ** -2
    weights = 0.7 * rank / rank.sum() + 0.3 * age / age.sum()
    counts = np.bincount(slots[slots >= 0], minlength=4)
    assert stats.chisquare(counts, weights * counts.sum()).pvalue > 1e-3


def test_extremes():
    state = filled([1, 2, 3], [-1.0, -3.0, -2.0], active=[1])
    best = extremes(state, 2)
    assert best.levels_high.params["name"].tolist() == [1, 3]
    assert best.scores_high.tolist() == [-1.0, -2.0]
    assert best.levels_low.params["name"].tolist() == [2, 3]
    assert best.scores_low.tolist() == [-3.0, -2.0]
    assert best.valid.tolist() == [True, True]
    assert extremes(state, 5).valid.tolist() == [True] * 3 + [False] * 2


def test_metrics():
    state = filled([1, 2], [-1.0, -3.0], last_seen=np.array([9, 4] + [0] * 6)).replace(
        replay_fraction=jnp.float32(0.25)
    )
    expected = {"fill": 0.25, "score_mean": -2.0, "score_max": -1.0, "age_mean": 3.5, "replay_fraction": 0.25}
    chex.assert_trees_all_close(DEFAULT.metrics(state), expected)
    assert all(float(v) == 0 for v in DEFAULT.metrics(filled([], [])).values())


def test_capacity_message():
    with pytest.raises(ValueError) as error:
        Replay(generator=generator, capacity=8).init(KEY, 6)
    assert str(error.value) == (
        "Replay: capacity must be at least twice the lifetimes (got 8, lifetimes 6, expected >= 12)"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": 1}, "capacity must hold two levels or more .got 1"),
        ({"replay_probability": 1.5}, "replay_probability must be a fraction .got 1.5"),
        ({"staleness": -0.1}, "staleness must be a fraction .got -0.1"),
        ({"minimum_fill": -1}, "minimum_fill must be a count .got -1"),
        ({"minimum_fill": 11}, "minimum_fill must leave a slot for every lifetime .got 11, expected <= 10"),
    ],
)
def test_bad_configuration(changes, message):
    with pytest.raises(ValueError, match=message):
        Replay(**{"generator": generator, "capacity": 12} | changes).init(KEY, 2)
