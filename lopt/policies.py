"""Categorical policies given by logits `[..., A]`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lopt.types import Key


def sample(key: Key, logits: Float[Array, "*b A"]) -> Int[Array, "*b"]:
    """Actions by inversion of the cumulative distribution: one uniform number each, whatever A is."""
    cumulative = jnp.cumsum(jax.nn.softmax(logits), axis=-1)
    uniform = jax.random.uniform(key, logits.shape[:-1])[..., None] * cumulative[..., -1:]
    return (cumulative[..., :-1] <= uniform).sum(-1, dtype=jnp.int32)


def log_prob(logits: Float[Array, "*b A"], action: Int[Array, "*b"]) -> Float[Array, "*b"]:
    """log pi(a), by a masked sum: for few actions its transpose is cheaper than a gather's."""
    chosen = jax.nn.one_hot(action, logits.shape[-1], dtype=bool)
    return jnp.where(chosen, jax.nn.log_softmax(logits), 0.0).sum(-1)


def entropy(logits: Float[Array, "*b A"]) -> Float[Array, "*b"]:
    """H(pi) in nats."""
    log_p = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_p) * log_p).sum(-1)


def kl(logits: Float[Array, "*b A"], other: Float[Array, "*b A"]) -> Float[Array, "*b"]:
    """KL(p || q) in nats, of the distributions with these logits."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
