"""Domain randomisation: every finished lifetime gets a newly sampled level, from its own key."""

import jax
import jax.numpy as jnp
import numpy as np

from lopt.curriculum import DomainRandomisation
from lopt.types import NEW, UNTRACKED, Level


def generator(key):
    return Level(params={"x": jax.random.uniform(key)}, num_updates=jnp.int32(3))


def test_levels_are_new_and_different():
    curriculum = DomainRandomisation(generator)
    state, before = curriculum.init(jax.random.key(0), 40)
    before = before.replace(slot=before.slot.at[:20].set(UNTRACKED))
    finished = jnp.arange(40) % 2 == 0
    _, after = curriculum.exchange(jax.random.key(1), state, before, jnp.full(40, jnp.nan), finished)
    old, new = np.asarray(before.levels.params["x"]), np.asarray(after.levels.params["x"])
    assert len({*old.tolist(), *new.tolist()}) == 60
    np.testing.assert_array_equal(old[1::2], new[1::2])
    assert (after.slot[::2] == NEW).all()
    assert (after.slot[1::2] == before.slot[1::2]).all()
    assert curriculum.metrics(state) == {}
