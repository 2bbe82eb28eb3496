"""Self-attention without softmax, as a function and as an in-context learner."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Inexact

from lopt.incontext.checks import at_least_one, fits
from lopt.types import Key, Theta


def linear_attention(
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


@dataclass(frozen=True)
class LinearAttention:
    """One layer of causal linear attention: y_t = W_PV E_t E_t^T W_KQ e_t / (t - 1), over `paired_tokens`.

    With the weights `descent(eta)` it is one step of gradient descent from zero on the examples so far,
    y_t = eta / (t - 1) sum_{s<t} y_s x_s^T x_t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        scale: standard deviation of the weights at birth.

    Raises:
        ValueError: a size below one, or a negative `scale`.

    Paper: arXiv 2212.07677, proposition 1; causal and divided by t - 1 as in arXiv 2405.16845. Differs: at t = 1, where
    there is no example yet, the sum is divided by one.
    """

    inputs: int
    targets: int
    outputs: int
    scale: float = 0.1

    def __post_init__(self) -> None:
        at_least_one(self, "inputs", "targets", "outputs")
        if self.scale < 0:
            raise ValueError(f"LinearAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Every entry ~ N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = 2 * self.inputs + self.targets
        return {
            "pv": self.scale * jax.random.normal(key_pv, (self.outputs, width)),
            "kq": self.scale * jax.random.normal(key_kq, (width, width)),
        }

    def descent(self, step_size: float) -> Theta:
        """W_PV reads y, W_KQ compares x_{t-1} with x_t.

        Raises:
            ValueError: the outputs are not as wide as the targets.
        """
        if self.outputs != self.targets:
            raise ValueError(f"LinearAttention: outputs must be targets (got {self.outputs} and {self.targets})")
        x, width = self.inputs, 2 * self.inputs + self.targets
        pv = jnp.zeros((self.outputs, width)).at[:, 2 * x :].set(step_size * jnp.eye(self.outputs))
        return {"pv": pv, "kq": jnp.zeros((width, width)).at[x : 2 * x, :x].set(jnp.eye(x))}

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev)
        length = len(xs)
        read = linear_attention(theta["pv"], theta["kq"], paired_tokens(xs, ys_prev), jnp.tri(length, dtype=bool))
        return read / jnp.maximum(jnp.arange(length), 1)[:, None]

    def state_size(self, length: int) -> int:
        """W_PV E_t E_t^T, and the last x."""
        return self.outputs * (2 * self.inputs + self.targets) + self.inputs
