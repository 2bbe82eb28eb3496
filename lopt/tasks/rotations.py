"""Sequences that turn in every coordinate, and what one layer of linear attention must become on them."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from lopt.tasks.starts import GaussianStart, Start
from lopt.types import Key


@dataclass(frozen=True)
class Rotations:
    """x_{t+1} = W x_t with W = diag(e^{i theta_1}, ..., e^{i theta_d}), theta_j ~ U[0, 2 pi) anew for every sequence.

    An in-context learner predicts x_{t+1} from x_1, ..., x_t for t = 2, ..., T - 1, and its loss is
    sum_t E 1/2 |y_t - x_{t+1}|^2. For y_t = c / (t - 1) sum_{s<t} x_{s+1} x_s^* x_t, one step of gradient descent, all
    is known in closed form, from kappa_0 = E x_{1j}^2, kappa_1 = E x_{1j}^4, kappa_2 = E x_{1j}^6 and
    kappa_3 = sum_{r != j} E x_{1j}^2 x_{1r}^4.

    Attributes:
        dimensions: d.
        length: T.
        start: distribution of x_1.

    Raises:
        ValueError: fewer than one dimension, or fewer than three steps.

    Paper: arXiv 2405.16845, sections 3 and 4.
    """

    dimensions: int = 5
    length: int = 100
    start: Start = field(default_factory=GaussianStart)

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.length < 3:
            raise ValueError(
                f"Rotations: expected dimensions >= 1 and length >= 3 (got {self.dimensions} and {self.length})"
            )

    def sample(self, key: Key) -> Complex[Array, "T d"]:
        """x_1, ..., x_T."""
        key_start, key_angles = jax.random.split(key)
        angles = jax.random.uniform(key_angles, (self.dimensions,), maxval=2 * math.pi)
        turns = jnp.arange(self.length)[:, None] * angles[None]
        return self.start.sample(key_start, self.dimensions)[None] * jax.lax.complex(jnp.cos(turns), jnp.sin(turns))

    def moments(self) -> tuple[float, float, float, float]:
        """kappa_0, kappa_1, kappa_2, kappa_3."""
        d = self.dimensions
        first, second, third = (self.start.moment((n,), d) for n in (2, 4, 6))
        return first, second, third, (d - 1) * self.start.moment((2, 4), d) if d > 1 else 0.0

    def harmonic(self) -> float:
        """H, the mean of 1 / (t - 1) over t = 2, ..., T - 1."""
        return float(np.mean(1 / np.arange(1, self.length - 1)))

    def limit_product(self) -> float:
        """c* = kappa_1 / (kappa_2 + kappa_3 H), which minimises the loss over c; what ab tends to.

        Paper: arXiv 2405.16845, theorem 4.1.
        """
        _, first, second, third = self.moments()
        return first / (second + third * self.harmonic())

    def limit(self, a: float, b: float) -> tuple[float, float]:
        """Where the gradient flow from positive a and b ends: ab = c*, and a^2 - b^2 is as it was.

        Raises:
            ValueError: a or b is not positive.
        """
        if a <= 0 or b <= 0:
            raise ValueError(f"Rotations.limit: a and b must be positive (got {a} and {b})")
        c, delta = self.limit_product(), a * a - b * b
        square = (abs(delta) + math.hypot(delta, 2 * c)) / 2  # of the larger one, so that nothing cancels
        large = math.sqrt(square)
        return (large, c / large) if delta >= 0 else (c / large, large)

    def relative_error(self, c: float) -> np.ndarray:
        """E |y_t - x_{t+1}|^2 / E |x_{t+1}|^2 at t = 2, ..., T - 1; one for the prediction of zero."""
        zeroth, first, second, third = self.moments()
        seen = np.arange(1, self.length - 1)
        return (c * c * (second + third / seen) - 2 * c * first + zeroth) / zeroth

    def loss(self, c: float) -> float:
        """sum_t E 1/2 |y_t - x_{t+1}|^2."""
        return float(0.5 * self.dimensions * self.moments()[0] * self.relative_error(c).sum())

    def curvature(self, a: float, b: float) -> float:
        """Of the loss along a pair of diagonal entries, at most (T - 2) (kappa_2 + kappa_3 H) (a^2 + b^2).

        Descent with a step above two over this diverges.
        """
        _, _, second, third = self.moments()
        return (self.length - 2) * (second + third * self.harmonic()) * (a * a + b * b)
