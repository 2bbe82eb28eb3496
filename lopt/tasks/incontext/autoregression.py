"""Autoregressive sequences: diagonal unitary transitions, their initial distributions, and linear systems."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from lopt.types import Context, Key


@runtime_checkable
class InitialDistribution(Protocol):
    """An exchangeable distribution of the initial token x_1, a real vector: permuting coordinates changes nothing."""

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1 with `dimensions` coordinates."""
        ...

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """The moment E prod_i x_{1, j_i}^{n_i} for distinct coordinates j_i and exponents n_i >= 1."""
        ...


@dataclass(frozen=True)
class GaussianInitial:
    """Gaussian initial token: x_1 ~ N(0, std^2 I)."""

    std: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return self.std * jax.random.normal(key, (dimensions,))

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """std^{sum n_i} prod_i (n_i - 1)!! if all n_i are even, else zero."""
        if any(n % 2 for n in exponents):
            return 0.0
        return self.std ** sum(exponents) * math.prod(math.prod(range(1, n, 2)) for n in exponents)


@dataclass(frozen=True)
class SparseInitial:
    """Sparse initial token: x_1 is uniform on the 2d vectors scale e_j and -scale e_j.

    Paper: arXiv 2405.16845, example 4.1.
    """

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        key_coordinate, key_sign = jax.random.split(key)
        coordinate = jax.random.randint(key_coordinate, (), 0, dimensions)
        return self.scale * jax.random.rademacher(key_sign, (), float) * jax.nn.one_hot(coordinate, dimensions)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^n / d for a single even exponent n, else zero."""
        if len(exponents) > 1 or any(n % 2 for n in exponents):
            return 0.0
        return self.scale ** sum(exponents) / dimensions ** len(exponents)


@dataclass(frozen=True)
class SignInitial:
    """Rademacher initial token: independent coordinates, scale or -scale with equal probability."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return self.scale * jax.random.rademacher(key, (dimensions,), float)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^{sum n_i} if all n_i are even, else zero."""
        return 0.0 if any(n % 2 for n in exponents) else self.scale ** sum(exponents)


@dataclass(frozen=True)
class ConstantInitial:
    """Deterministic initial token x_1 = scale (1, ..., 1), for scale = 1 the "full-one" token of arXiv 2405.16845."""

    scale: float = 1.0

    def sample(self, key: Key, dimensions: int) -> Float[Array, " d"]:
        """One draw of x_1."""
        return jnp.full(dimensions, self.scale)

    def moment(self, exponents: Sequence[int], dimensions: int) -> float:
        """scale^{sum n_i}."""
        return self.scale ** sum(exponents)


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
