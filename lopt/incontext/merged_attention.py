"""Attention without softmax in the two matrices that theory speaks of, and tokens that hold a whole example."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact


def merged_attention(
    pv: Float[Array, "O D"],
    kq: Float[Array, "D D"],
    tokens: Inexact[Array, "T D"],
    visible: Bool[Array, "T T"] | None = None,
) -> Inexact[Array, "T O"]:
    """y_t = sum_s W_PV e_s (e_s^* W_KQ e_t) over the tokens that `visible[t, s]` lets t see (all of them without it).

    `pv` is W_PV, the values and their projection in one matrix, `kq` is W_KQ = W_K^T W_Q. Tokens may be complex: e_s^*
    is the conjugate. Nothing is normalised: that is the caller's.
    """
    scores = (tokens @ kq.T) @ tokens.conj().T  # [t, s]
    if visible is not None:
        scores = jnp.where(visible, scores, 0.0)
    return scores @ (tokens @ pv.T)


def paired_tokens(xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T X2Y"]:
    """e_t = (x_t, x_{t-1}, y_{t-1}), with x_0 = 0: every example stands in one token, beside the next question.

    One layer has no way to bring x_{t-1} and y_{t-1} together by itself. On a sequence that is to be continued, where
    y_t = x_{t+1}, these are the tokens (x_t, x_{t-1}, x_t).

    Paper: arXiv 2309.05858, section 3 (constructed tokens).
    """
    before = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
    return jnp.concatenate([xs, before, ys_prev], -1)
