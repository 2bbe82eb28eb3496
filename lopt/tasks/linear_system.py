"""Sequences of a linear system that is not known, to be continued."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.types import Context, Key


@dataclass(frozen=True)
class LinearSystem:
    """x_{t+1} = W x_t + noise eps_t with a random orthogonal W, x_1 ~ U(-1, 1) in every coordinate, eps_t ~ N(0, I).

    The example at t is (x_t, y_t = x_{t+1}); what is told of the one before is x_t itself.

    Attributes:
        dimensions: d.
        length: T, predictions of a sequence.
        noise: standard deviation of a step's noise in every coordinate.

    Raises:
        ValueError: a size below one, or negative noise.

    Paper: arXiv 2309.05858, section 3 (d = 10, T = 50, noise 0.01). Differs: states are not clipped at 10, which they
    never reach.
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
        """W, uniform on the orthogonal matrices."""
        q, r = jnp.linalg.qr(jax.random.normal(key, (self.dimensions, self.dimensions)))
        return q * jnp.sign(jnp.diag(r))[None]

    def context(self, key: Key, task: Float[Array, "d d"], *, held_out: bool) -> Context:
        """A sequence; every one is new, held out or not."""
        key_start, key_noise = jax.random.split(key)
        start = jax.random.uniform(key_start, (self.dimensions,), minval=-1.0)

        def move(x, eps):
            x = task @ x + self.noise * eps
            return x, x

        after = jax.lax.scan(move, start, jax.random.normal(key_noise, (self.length, self.dimensions)))[1]
        xs = jnp.concatenate([start[None], after[:-1]])
        return Context(xs, xs.at[0].set(0.0), after)

    def losses(
        self, task: Any, outputs: Float[Array, "T d"], targets: Float[Array, "T d"]
    ) -> tuple[Float[Array, " T"], dict[str, Float[Array, " T"]]]:
        """1/2 |y - y_hat|^2."""
        return 0.5 * jnp.square(targets - outputs).sum(-1), {}
