"""The test suite's own checks: shapes are checked, records pass through JAX transformations, warnings are errors."""

import warnings

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from lopt.tree import where
from lopt.types import Progress, TimeStep


def build(step, num_updates):
    """A record as built by a function of lopt."""
    scope = {"__name__": "lopt.example", "Progress": Progress}
    exec("def make(step, num_updates): return Progress(step=step, num_updates=num_updates)", scope)
    return scope["make"](step, num_updates)


def test_signatures_are_checked():
    with pytest.raises(TypeCheckError):
        where(jnp.ones(3), jnp.ones(3), jnp.zeros(3))


def test_records_built_by_lopt_are_checked():
    build(jnp.int32(1), jnp.int32(2))
    with pytest.raises(TypeCheckError):
        build(jnp.float32(1), jnp.int32(2))
    with pytest.raises(TypeCheckError):
        build(jnp.zeros((2,), jnp.int32), jnp.zeros((3,), jnp.int32))


def test_records_accept_the_leaves_that_jax_passes():
    record = build(jnp.arange(3), jnp.arange(3))
    for leaf in (None, 0, object(), "x"):
        jax.tree.map(lambda x, leaf=leaf: leaf, record)
    assert jax.eval_shape(lambda p: p.fraction, record).shape == (3,)
    axes = build(0, None)
    out = jax.vmap(lambda p: p.replace(step=p.step + 1), in_axes=(axes,))(Progress(jnp.arange(3), jnp.int32(3)))
    assert out.step.shape == (3,)
    stacked = jax.vmap(lambda p: p)(jax.tree.map(lambda x: x[:, None], record))
    assert stacked.step.shape == (3, 1)
    leaves, treedef = jax.tree.flatten(record)
    jax.tree.unflatten(treedef, [jax.ShapeDtypeStruct((), jnp.int32), 3])


def test_records_pass_through_transformations():
    step = TimeStep(obs=1.0, reward=jnp.ones(2), discount=jnp.ones(2), truncated=jnp.zeros(2, bool), final_obs=1.0)
    grad = jax.grad(lambda s: s.reward.sum(), allow_int=True)(step)
    assert grad.reward.shape == (2,)
    assert jax.jit(lambda s: s.last)(step).shape == (2,)


def test_rank_promotion_raises():
    with pytest.raises(ValueError, match="rank_promotion"):
        jnp.ones((2, 2)) + jnp.ones(2)


@pytest.mark.parametrize("module", ["lopt.tree", "envs.chain", "experiments.groove"])
def test_warnings_of_our_packages_are_errors(module):
    with pytest.raises(UserWarning):
        exec("import warnings; warnings.warn('ours', UserWarning)", {"__name__": module})


def test_warnings_of_other_packages_are_not_errors():
    with warnings.catch_warnings(record=True) as caught:
        exec("import warnings; warnings.warn('theirs', UserWarning)", {"__name__": "elsewhere"})
    assert len(caught) == 1
