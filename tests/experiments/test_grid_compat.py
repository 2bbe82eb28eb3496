"""GROOVE's buffer: the published code's two defects, one by one, and its other rules."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.grid.compat import GrooveCompat
from lopt.curriculum import Proportional
from lopt.types import UNTRACKED, Level

KEY = jax.random.key(0)
N, C = 4, 16


def generator(key):
    return Level(params={"x": jax.random.uniform(key)}, num_updates=jnp.int32(3))


def compat(reset_bug, top_transform, **changes):
    return GrooveCompat(generator=generator, capacity=C, reset_bug=reset_bug, top_transform=top_transform, **changes)


@partial(jax.jit, static_argnums=0)
def exchange(curriculum, key, state, assignment, scores, finished):
    return curriculum.exchange(key, state, assignment, scores, finished)


def init(curriculum):
    return jax.jit(GrooveCompat.init, static_argnums=(0, 2))(curriculum, KEY, N)


def test_the_first_assignment_is_the_first_slots():
    state, assignment = init(compat(True, True))
    assert assignment.slot.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(assignment.levels.params["x"], state.levels.params["x"][:N])
    assert state.new.all()


@pytest.mark.parametrize("reset_bug", [True, False])
def test_reset_bug(reset_bug):
    """16 levels, none of them evaluated; after one exchange only those in use and those regenerated are new."""
    curriculum = compat(reset_bug, True)
    state, assignment = init(curriculum)
    after, same = exchange(curriculum, KEY, state, assignment, jnp.zeros(N), jnp.zeros(N, bool))
    assert int(after.new.sum()) == (2 * N if reset_bug else C)
    reset = after.levels.params["x"] != state.levels.params["x"]
    assert reset.tolist() == [N <= slot < 2 * N for slot in range(C)]
    assert same.slot.tolist() == assignment.slot.tolist()
    # levels that were never in use count as evaluated, with score 0
    never_used = np.arange(C) >= 2 * N
    assert (~after.new[never_used]).all() == reset_bug
    assert (after.score == 0).all()


def scored(curriculum, scores):
    """A state in which every level is evaluated, with the lifetimes on the first slots."""
    state, assignment = init(curriculum)
    return state.replace(new=jnp.zeros(C, bool), score=jnp.array(scores, jnp.float32)), assignment


def test_the_lowest_levels_that_are_not_in_use_are_regenerated():
    curriculum = compat(False, True)
    scores = [-9.0, -9, -9, -9, 5, 6, -1, 8, 9, -2, 11, -3, 13, -4, 15, 16]
    state, assignment = scored(curriculum, scores)
    after, _ = exchange(curriculum, KEY, state, assignment, jnp.zeros(N), jnp.zeros(N, bool))
    assert np.flatnonzero(after.new).tolist() == [6, 9, 11, 13]
    assert np.flatnonzero(after.levels.params["x"] != state.levels.params["x"]).tolist() == [6, 9, 11, 13]


def test_top_transform():
    """deterministic-replay: the i-th lifetime takes the i-th highest score, whatever the key."""
    curriculum = compat(False, True, replay_probability=1.0)
    state, assignment = scored(curriculum, np.arange(C) - 20.0)
    finished, scores = jnp.array([True, False, True, True]), jnp.array([-30.0, 0, -4.5, -30])
    for seed in range(5):
        after, chosen = exchange(curriculum, jax.random.key(seed), state, assignment, scores, finished)
        # -4.5 (slot 2) is the highest, then slots 15, 14, 13
        assert chosen.slot.tolist() == [2, 1, 14, 13]
        assert float(after.replay_fraction) == pytest.approx(1.0)


def test_of_equal_scores_the_last_slot_is_taken_first():
    curriculum = compat(False, True, replay_probability=1.0)
    state, assignment = scored(curriculum, [0.0] * C)
    args = (state, assignment, jnp.zeros(N), jnp.ones(N, bool))
    assert exchange(curriculum, KEY, *args)[1].slot.tolist() == [15, 14, 13, 12]


@pytest.mark.parametrize(("replayable", "replays"), [(N - 1, 0), (N, N)])
def test_replays_need_as_many_replayable_levels_as_lifetimes(replayable, replays):
    curriculum = compat(False, True, replay_probability=1.0)
    state, assignment = scored(curriculum, np.arange(C) + 0.0)
    # the lifetimes end without a finite score, so that their slots stay new
    state = state.replace(new=jnp.arange(C) < C - replayable)
    args = (state, assignment, jnp.full(N, jnp.nan, jnp.float32), jnp.ones(N, bool))
    after, chosen = exchange(curriculum, KEY, *args)
    assert float(after.replay_fraction) == replays / N
    assert all(slot >= C - replayable for slot in chosen.slot.tolist()) == (replays > 0)


def test_without_the_transform_replays_follow_the_priority():
    scores = np.arange(C) - 20.0
    steep = compat(False, False, replay_probability=1.0, priority=Proportional(0.01))
    state, assignment = scored(steep, scores)
    _, chosen = exchange(steep, KEY, state, assignment, jnp.full(N, -30.0, jnp.float32), jnp.ones(N, bool))
    assert chosen.slot.tolist() == [15, 14, 13, 12]
    flat = compat(False, False, replay_probability=1.0, priority=Proportional(1e6))
    args = (state, assignment, jnp.full(N, -30.0, jnp.float32), jnp.ones(N, bool))
    slots = {tuple(exchange(flat, jax.random.key(i), *args)[1].slot.tolist()) for i in range(10)}
    assert len(slots) == 10
    assert all(len(set(s)) == N for s in slots)


def test_nonfinite_scores_and_untracked_lifetimes_are_not_recorded():
    curriculum = compat(False, True, replay_probability=0.0)
    state, assignment = scored(curriculum, np.arange(C) - 20.0)
    assignment = assignment.replace(slot=assignment.slot.at[3].set(UNTRACKED))
    scores = jnp.array([jnp.nan, -jnp.inf, 7.0, 7.0])
    after, _ = exchange(curriculum, KEY, state, assignment, scores, jnp.ones(N, bool))
    assert after.score[:3].tolist() == [-20.0, -19.0, 7.0]
    assert bool(after.new[3])  # it was not in use, and among the lowest


def test_bad_configuration():
    with pytest.raises(ValueError, match="at least twice the lifetimes .got 16, lifetimes 9, expected >= 18"):
        compat(True, True).init(KEY, 9)
    with pytest.raises(ValueError, match="replay_probability must be a fraction .got 2"):
        compat(True, True, replay_probability=2.0)
