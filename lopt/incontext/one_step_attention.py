"""One layer of linear attention that can be a step of gradient descent, as an in-context learner."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import at_least_one, fits
from lopt.incontext.merged_attention import merged_attention, paired_tokens
from lopt.types import Key, Theta


@dataclass(frozen=True)
class OneStepAttention:
    """One head of causal linear attention: y_t = W_PV E_t E_t^T W_KQ e_t / (t - 1), over `paired_tokens`.

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
            raise ValueError(f"OneStepAttention: scale must not be negative (got {self.scale})")

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
            raise ValueError(f"OneStepAttention: outputs must be targets (got {self.outputs} and {self.targets})")
        x, width = self.inputs, 2 * self.inputs + self.targets
        pv = jnp.zeros((self.outputs, width)).at[:, 2 * x :].set(step_size * jnp.eye(self.outputs))
        return {"pv": pv, "kq": jnp.zeros((width, width)).at[x : 2 * x, :x].set(jnp.eye(x))}

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        fits(self, xs, ys_prev)
        length = len(xs)
        read = merged_attention(theta["pv"], theta["kq"], paired_tokens(xs, ys_prev), jnp.tri(length, dtype=bool))
        return read / jnp.maximum(jnp.arange(length), 1)[:, None]

    def state_size(self, length: int) -> int:
        """W_PV E_t E_t^T, and the last x."""
        return self.outputs * (2 * self.inputs + self.targets) + self.inputs
