"""Diagonal unitary autoregressive sequences, and the theory of one-layer linear attention trained on them."""

import math
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex

from lopt.tasks.initial import GaussianInitial, InitialDistribution
from lopt.types import Key


@dataclass(frozen=True, kw_only=True)
class DiagonalUnitaryAR:
    """x_{t+1} = W x_t with W = diag(e^{i theta_1}, ..., e^{i theta_d}) and theta_j ~ U[0, 2 pi), drawn per sequence.

    An in-context learner predicts x_{t+1} from x_1, ..., x_t for t = 2, ..., T - 1; its loss is
    sum_t E 1/2 |y_t - x_{t+1}|^2. For the prediction after one step of gradient descent,
    y_t = c / (t - 1) sum_{s<t} x_{s+1} x_s^* x_t, the quantities below have closed forms in the moments
    kappa_0 = E x_{1j}^2, kappa_1 = E x_{1j}^4, kappa_2 = E x_{1j}^6 and kappa_3 = sum_{r != j} E x_{1j}^2 x_{1r}^4.

    Attributes:
        dimensions: d.
        length: T, the number of tokens of a sequence.
        initial: distribution of the initial token x_1.

    Raises:
        ValueError: `dimensions` is below one, or `length` below three.

    Paper: arXiv 2405.16845, sections 3 and 4.
    """

    dimensions: int = 5
    length: int = 100
    initial: InitialDistribution = field(default_factory=GaussianInitial)

    def __post_init__(self) -> None:
        if self.dimensions < 1 or self.length < 3:
            raise ValueError(
                f"DiagonalUnitaryAR: expected dimensions >= 1 and length >= 3 (got {self.dimensions} and {self.length})"
            )

    def sample(self, key: Key) -> Complex[Array, "T d"]:
        """One sequence x_1, ..., x_T, complex, `[T, d]`."""
        key_initial, key_angles = jax.random.split(key)
        angles = jax.random.uniform(key_angles, (self.dimensions,), maxval=2 * math.pi)
        phases = jnp.arange(self.length)[:, None] * angles[None]
        initial = self.initial.sample(key_initial, self.dimensions)
        return initial[None] * jax.lax.complex(jnp.cos(phases), jnp.sin(phases))

    def moments(self) -> tuple[float, float, float, float]:
        """The moments (kappa_0, kappa_1, kappa_2, kappa_3) of the initial token, as in the class's equations."""
        d = self.dimensions
        first, second, third = (self.initial.moment((n,), d) for n in (2, 4, 6))
        return first, second, third, (d - 1) * self.initial.moment((2, 4), d) if d > 1 else 0.0

    def harmonic(self) -> float:
        """H = mean over t = 2, ..., T - 1 of 1 / (t - 1)."""
        return float(np.mean(1 / np.arange(1, self.length - 1)))

    def limit_product(self) -> float:
        """c* = kappa_1 / (kappa_2 + kappa_3 H): the minimiser of the loss over c, and the limit of ab in gradient flow.

        Paper: arXiv 2405.16845, theorem 4.1.
        """
        _, first, second, third = self.moments()
        return first / (second + third * self.harmonic())

    def limit(self, a: float, b: float) -> tuple[float, float]:
        """The limit (a, b) of the gradient flow from initial weights a, b > 0: ab = c*, and a^2 - b^2 is conserved.

        Raises:
            ValueError: a or b is not positive.
        """
        if a <= 0 or b <= 0:
            raise ValueError(f"DiagonalUnitaryAR.limit: a and b must be positive (got {a} and {b})")
        c, delta = self.limit_product(), a * a - b * b
        square = (abs(delta) + math.hypot(delta, 2 * c)) / 2  # of the larger of the two, which avoids cancellation
        large = math.sqrt(square)
        return (large, c / large) if delta >= 0 else (c / large, large)

    def relative_error(self, c: float) -> np.ndarray:
        """E |y_t - x_{t+1}|^2 / E |x_{t+1}|^2 at t = 2, ..., T - 1, `[T - 2]`; one for predicting zero."""
        zeroth, first, second, third = self.moments()
        num_pairs = np.arange(1, self.length - 1)  # t - 1
        return (c * c * (second + third / num_pairs) - 2 * c * first + zeroth) / zeroth

    def loss(self, c: float) -> float:
        """sum_{t=2}^{T-1} E 1/2 |y_t - x_{t+1}|^2 of the one-step prediction with coefficient c."""
        return float(0.5 * self.dimensions * self.moments()[0] * self.relative_error(c).sum())

    def curvature(self, a: float, b: float) -> float:
        """Upper bound (T - 2) (kappa_2 + kappa_3 H) (a^2 + b^2) of the loss's curvature in a pair of diagonal entries.

        Gradient descent with a step size above 2 / curvature diverges.
        """
        _, _, second, third = self.moments()
        return (self.length - 2) * (second + third * self.harmonic()) * (a * a + b * b)
