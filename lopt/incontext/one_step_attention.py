"""One layer of causal linear attention that can implement one step of gradient descent, as an in-context learner."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.incontext.checks import check_positive, check_sequence
from lopt.incontext.merged_attention import merged_attention, paired_tokens
from lopt.types import Key, Theta


@dataclass(frozen=True, kw_only=True)
class OneStepAttention:
    """One head of causal linear attention on `paired_tokens`: y_t = W_PV E_t E_t^T W_KQ e_t / (t - 1).

    With the weights `gradient_descent(eta)`, y_t = eta / (t - 1) sum_{s<t} y_s x_s^T x_t, the prediction after one step
    of gradient descent from zero on the examples before position t.

    Attributes:
        inputs: width of x.
        targets: width of y.
        outputs: width of a prediction.
        scale: standard deviation of the initial weights.

    Raises:
        ValueError: a size is below one, or `scale` is negative.

    Paper: arXiv 2212.07677, proposition 1; causal and divided by t - 1 as in arXiv 2405.16845.
    Differs: at t = 1, where the context is empty, the sum is divided by one.
    """

    inputs: int
    targets: int
    outputs: int
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_positive(self, "inputs", "targets", "outputs")
        if self.scale < 0:
            raise ValueError(f"OneStepAttention: scale must not be negative (got {self.scale})")

    def init(self, key: Key) -> Theta:
        """Initial weights `pv` and `kq`, with i.i.d. entries from N(0, scale^2)."""
        key_pv, key_kq = jax.random.split(key)
        width = 2 * self.inputs + self.targets
        return {
            "pv": self.scale * jax.random.normal(key_pv, (self.outputs, width)),
            "kq": self.scale * jax.random.normal(key_kq, (width, width)),
        }

    def gradient_descent(self, step_size: float) -> Theta:
        """The weights of one step of gradient descent with step size eta.

        W_PV is eta I on y_{t-1}, W_KQ compares x_{t-1} with x_t, and all other entries are zero.

        Raises:
            ValueError: `outputs` differs from `targets`.
        """
        if self.outputs != self.targets:
            raise ValueError(f"OneStepAttention: outputs must equal targets (got {self.outputs} and {self.targets})")
        x, width = self.inputs, 2 * self.inputs + self.targets
        pv = jnp.zeros((self.outputs, width)).at[:, 2 * x :].set(step_size * jnp.eye(self.outputs))
        return {"pv": pv, "kq": jnp.zeros((width, width)).at[x : 2 * x, :x].set(jnp.eye(x))}

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        check_sequence(self, xs, ys_prev)
        length = len(xs)
        sums = merged_attention(theta["pv"], theta["kq"], paired_tokens(xs, ys_prev), jnp.tri(length, dtype=bool))
        return sums / jnp.maximum(jnp.arange(length), 1)[:, None]

    def state_size(self, length: int) -> int:
        """W_PV E_t E_t^T and the previous x, independent of `length`."""
        return self.outputs * (2 * self.inputs + self.targets) + self.inputs
