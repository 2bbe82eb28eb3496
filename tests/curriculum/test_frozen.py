"""A fixed set of levels: sampled uniformly, carried in the state, validated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from lopt.curriculum import FrozenSet
from lopt.types import Level

SIZE = 6


def levels(size=SIZE):
    return Level(params={"x": jnp.arange(size) * 10.0}, num_updates=jnp.arange(size) + 1)


def test_levels_are_drawn_uniformly_and_with_replacement():
    frozen = FrozenSet(levels())
    state, assignment = frozen.init(jax.random.key(0), 600)
    _, after = frozen.exchange(jax.random.key(1), state, assignment, jnp.zeros(600), jnp.arange(600) < 400)
    for drawn in (assignment.levels, after.levels):
        np.testing.assert_array_equal(drawn.params["x"], 10 * (np.asarray(drawn.num_updates) - 1))
        assert stats.chisquare(np.bincount(drawn.num_updates, minlength=SIZE + 1)[1:]).pvalue > 1e-3
    np.testing.assert_array_equal(after.levels.num_updates[400:], assignment.levels.num_updates[400:])
    assert (after.levels.num_updates[:400] != assignment.levels.num_updates[:400]).any()


def test_the_set_is_carried_in_the_state():
    frozen = FrozenSet(levels())
    state, assignment = frozen.init(jax.random.key(0), 3)
    other = state.replace(levels=jax.tree.map(lambda x: -x, state.levels))
    _, after = frozen.exchange(jax.random.key(1), other, assignment, jnp.zeros(3), jnp.ones(3, bool))
    assert (after.levels.num_updates < 0).all()
    assert isinstance(hash(frozen), int)
    assert frozen != FrozenSet(levels())


@pytest.mark.parametrize(
    "bad",
    [
        Level(params={}, num_updates=jnp.int32(3)),
        Level(params={"x": jnp.zeros((0, 2))}, num_updates=jnp.zeros(0, jnp.int32)),
        Level(params={"x": jnp.zeros((4, 2))}, num_updates=jnp.zeros(3, jnp.int32)),
    ],
)
def test_the_leaves_share_a_leading_axis(bad):
    with pytest.raises(ValueError, match="leaves must share a leading axis .got shapes"):
        FrozenSet(bad)
