"""Sets of objects as bits: bit i of an int32 is object i.

Operations on scalars, one object at a time, vectorise over environments; arrays with a short last axis do not.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Draws = tuple[Float[Array, ""], ...]
"""Uniform random numbers, each used once."""


def pack(members: Bool[Array, "*n O"]) -> Int[Array, "*n"]:
    """The bits of the objects that are marked in a mask."""
    bits = sum(jnp.where(members[..., i], 1 << i, 0) for i in range(members.shape[-1]))
    return jnp.asarray(bits, jnp.int32)


def unpack(objects: Int[Array, "*n"], num_objects: int) -> Bool[Array, "*n O"]:
    """The mask of the objects in a set of bits; the inverse of `pack`."""
    return jnp.stack([has(objects, i) for i in range(num_objects)], axis=-1)


def has(objects: Int[Array, "*n"], i: int) -> Bool[Array, "*n"]:
    """Whether object i is in the set."""
    return (objects & (1 << i)) != 0


def total(objects: Int[Array, ""], values: Float[Array, " O"]) -> Float[Array, ""]:
    """The sum of `values` over the objects of the set."""
    terms = [jnp.where(has(objects, i), values[i], 0.0) for i in range(values.shape[-1])]
    return jnp.asarray(sum(terms), jnp.float32)
