"""Functions of policies: categorical ones given by logits `[..., A]`, and diagonal Gaussian ones (`Gaussian`)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from lopt.types import Gaussian, Key, Policy


def sample(key: Key, policy: Policy) -> Int[Array, "*b"] | Float[Array, "*b A"]:
    """Sample actions; discrete ones by inverse-transform sampling, with one uniform number per action for any A."""
    if isinstance(policy, Gaussian):
        return policy.mean + jnp.exp(policy.log_std) * jax.random.normal(key, policy.mean.shape)
    cumulative = jnp.cumsum(jax.nn.softmax(policy), axis=-1)
    uniform = jax.random.uniform(key, policy.shape[:-1])[..., None] * cumulative[..., -1:]
    return (cumulative[..., :-1] <= uniform).sum(-1, dtype=jnp.int32)


def clip_action(action: Int[Array, "*b"] | Float[Array, "*b A"]) -> Int[Array, "*b"] | Float[Array, "*b A"]:
    """The action passed to the environment: a real vector is clipped to [-1, 1], an index is unchanged."""
    return jnp.clip(action, -1.0, 1.0) if jnp.issubdtype(action.dtype, jnp.floating) else action


def log_prob(policy: Policy, action: Int[Array, "*b"] | Float[Array, "*b A"]) -> Float[Array, "*b"]:
    """log pi(a): a log-probability for discrete actions, a log-density for real ones.

    For discrete actions it is a masked sum over A, whose transpose is cheaper than that of a gather for small A.
    """
    if isinstance(policy, Gaussian):
        deviation = (action - policy.mean) * jnp.exp(-policy.log_std)
        return (-0.5 * deviation**2 - policy.log_std - 0.5 * np.log(2 * np.pi)).sum(-1)
    chosen = jax.nn.one_hot(action, policy.shape[-1], dtype=bool)
    return jnp.where(chosen, jax.nn.log_softmax(policy), 0.0).sum(-1)


def entropy(policy: Policy) -> Float[Array, "*b"]:
    """Entropy H(pi) in nats; differential entropy for real actions."""
    if isinstance(policy, Gaussian):
        return (policy.log_std + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
    log_p = jax.nn.log_softmax(policy)
    return -(jnp.exp(log_p) * log_p).sum(-1)


def kl(logits: Float[Array, "*b A"], other: Float[Array, "*b A"]) -> Float[Array, "*b"]:
    """KL(p || q) in nats, of the categorical distributions p and q with the logits `logits` and `other`."""
    log_p, log_q = jax.nn.log_softmax(logits), jax.nn.log_softmax(other)
    return (jnp.exp(log_p) * (log_p - log_q)).sum(-1)
