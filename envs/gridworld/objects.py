"""Sets of objects as bits: bit i of an int32 is object i.

Object by object on scalars, a step vectorises over environments; arrays with a last axis of five do not.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Draws = tuple[Float[Array, ""], ...]
"""Uniform numbers, each used once."""


def pack(members: Bool[Array, "*n O"]) -> Int[Array, "*n"]:
    """The set whose members are marked."""
    bits = sum(jnp.where(members[..., i], 1 << i, 0) for i in range(members.shape[-1]))
    return jnp.asarray(bits, jnp.int32)


def unpack(objects: Int[Array, "*n"], num_objects: int) -> Bool[Array, "*n O"]:
    """Which of `num_objects` objects are in the set."""
    return jnp.stack([has(objects, i) for i in range(num_objects)], axis=-1)


def has(objects: Int[Array, "*n"], i: int) -> Bool[Array, "*n"]:
    """Whether object i is in the set."""
    return (objects & (1 << i)) != 0


def total(objects: Int[Array, ""], values: Float[Array, " O"]) -> Float[Array, ""]:
    """The sum of the values of the set's members."""
    terms = [jnp.where(has(objects, i), values[i], 0.0) for i in range(values.shape[-1])]
    return jnp.asarray(sum(terms), jnp.float32)
