"""Linear attention with merged weight matrices, as in its theory, and tokens that contain a whole example."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact


def merged_attention(
    pv: Float[Array, "O D"],
    kq: Float[Array, "D D"],
    tokens: Inexact[Array, "T D"],
    visible: Bool[Array, "T T"] | None = None,
) -> Inexact[Array, "T O"]:
    """Unnormalised linear attention y_t = sum_s W_PV e_s (e_s^* W_KQ e_t) over the visible tokens s.

    Args:
        pv: W_PV, the product of output projection and value matrix.
        kq: W_KQ = W_K^T W_Q, the product of key and query matrices.
        tokens: e_1, ..., e_T, real or complex; e_s^* is the conjugate transpose.
        visible: whether token t attends to token s, `[t, s]`; None for all.
    """
    scores = (tokens @ kq.T) @ tokens.conj().T  # [t, s]
    if visible is not None:
        scores = jnp.where(visible, scores, 0.0)
    return scores @ (tokens @ pv.T)


def paired_tokens(xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T X2Y"]:
    """Tokens e_t = (x_t, x_{t-1}, y_{t-1}) with x_0 = 0: the query x_t together with the previous example.

    A single layer of linear attention cannot combine x_{t-1} and y_{t-1} from different tokens. In next-token
    prediction, where y_t = x_{t+1}, the tokens are (x_t, x_{t-1}, x_t).

    Paper: arXiv 2309.05858, section 3 (constructed tokens).
    """
    previous = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
    return jnp.concatenate([xs, previous, ys_prev], -1)
