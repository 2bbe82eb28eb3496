"""Next-state prediction for a linear dynamical system with unknown transition matrix, as an in-context task."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Context, Key


@dataclass(frozen=True, kw_only=True)
class LinearSystem:
    """x_{t+1} = W x_t + noise eps_t with a random orthogonal W, x_1 ~ U(-1, 1) in every coordinate, eps_t ~ N(0, I).

    The example at position t is (x_t, y_t = x_{t+1}), so that the previous label `ys_prev[t]` is x_t itself.

    Attributes:
        dimensions: d.
        length: T, predictions per sequence.
        noise: standard deviation of the process noise in every coordinate.

    Raises:
        ValueError: a size is below one, or `noise` is negative.

    Paper: arXiv 2309.05858, section 3 (d = 10, T = 50, noise 0.01).
    Differs: states are not clipped at 10, a value that they do not reach.
    """

    dimensions: int = 10
    length: int = 50
    noise: float = 0.01

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.length < 1 or self.noise < 0:
            raise ValueError(
                "LinearSystem: expected dimensions >= 1, length >= 1 and noise >= 0 "
                f"(got {self.dimensions}, {self.length} and {self.noise})"
            )

    def sample(self, key: Key) -> Float[Array, "d d"]:
        """The transition matrix W, uniform (Haar) on the orthogonal matrices."""
        q, r = jnp.linalg.qr(jax.random.normal(key, (self.dimensions, self.dimensions)))
        return q * jnp.sign(jnp.diag(r))[None]

    def context(self, key: Key, task: Float[Array, "d d"], *, held_out: bool) -> Context:
        """A new sequence of the system; `held_out` has no effect."""
        key_initial, key_noise = jax.random.split(key)
        initial = jax.random.uniform(key_initial, (self.dimensions,), minval=-1.0)

        def transition(x, eps):
            x = task @ x + self.noise * eps
            return x, x

        targets = jax.lax.scan(transition, initial, jax.random.normal(key_noise, (self.length, self.dimensions)))[1]
        xs = jnp.concatenate([initial[None], targets[:-1]])
        return Context(xs, xs.at[0].set(0.0), targets)

    def losses(
        self, task: Any, outputs: Float[Array, "T d"], targets: Float[Array, "T d"]
    ) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        """1/2 |y_t - y_hat_t|^2 at every position `[T]`, without metrics."""
        return 0.5 * jnp.square(targets - outputs).sum(-1), {}
