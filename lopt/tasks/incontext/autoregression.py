"""Autoregressive sequences: diagonal unitary transitions, their initial distributions, and linear systems; the exact
expected loss of one linear attention layer on diagonal unitary ones, for arbitrary weights.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Complex, Float, Int

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


Term = tuple[int, int, int, int]
"""Coefficients (s_1, s_2, s_3, s_4) of the exponent s_1 s + s_2 s' + s_3 t + s_4 of one coordinate's phase."""


class ClosedFormLoss(struct.PyTreeNode):
    """The expected loss as a function of the weights; `closed_form_loss` computes its coefficients.

    L(W_PV, W_KQ) = sum_i (1/2 u_i^T Q u_i - v_i^T u_i) + L(0), where u_i is the outer product of row i of W_PV with
    W_KQ. The prediction is linear in u_i: y_{t,i} = u_i . g_t with g_t = sum_{s<=t} e_s (x) e_s^* (x) e_t / (t - 1).
    Hence Q = sum_t E g_t g_t^* and v_i = sum_t E g_t conj(x_{t+1,i}). Q is stored by its non-zero entries.

    Attributes:
        rows: row indices of the n non-zero entries of Q.
        columns: their column indices.
        values: their values.
        linear: v, `[d, W^3]` with W = 2d, the width of a token.
        at_zero: L(0).
    """

    rows: Int[Array, " n"]
    columns: Int[Array, " n"]
    values: Float[Array, " n"]
    linear: Float[Array, "d W3"]
    at_zero: Float[Array, ""]

    def __call__(self, pv: Float[Array, "d W"], kq: Float[Array, "W W"]) -> Float[Array, ""]:
        """L(W_PV, W_KQ), for `pv` `[d, 2d]` and `kq` `[2d, 2d]`; differentiable in both."""
        u = (pv[:, :, None, None] * kq[None, None]).reshape(pv.shape[0], -1)
        quadratic = (self.values * (u[:, self.rows] * u[:, self.columns]).sum(0)).sum()
        return 0.5 * quadratic - (self.linear * u).sum() + self.at_zero


def closed_form_loss(task: DiagonalUnitaryAR) -> ClosedFormLoss:
    """Compute sum_{t=2}^{T-1} E 1/2 |y_t - x_{t+1}|^2 of `lopt.incontext.AutoregressiveAttention` in closed form.

    y_t = W_PV E_t E_t^* W_KQ e_t / (t - 1) with e_t = (x_t, x_{t-1}). A product of powers of independent uniform phases
    has mean one if the exponents of every coordinate cancel, and zero otherwise, so that the expectation over the
    angles counts index tuples. The expectation over x_1 needs its moments only. Takes a few seconds for T = 100; memory
    grows as d^6.
    """
    d, width = task.dimensions, 2 * task.dimensions
    counts = _Counts(task.length)
    # axes [lag, coordinate] of value, key and query, for g_t and for its conjugate
    shape = (2, d) * 6
    quadratic = np.zeros(tuple(shape[i] for i in (0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)))
    for pattern, indices in _patterns(d, 6):
        moment = task.initial.moment(np.bincount(pattern).tolist(), d)
        for lags in itertools.product((0, 1), repeat=6) if moment else ():
            count = counts.squares(pattern, lags)
            if count:
                quadratic[lags][indices] = moment * count
    matrix = quadratic.transpose(0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11).reshape(width**3, width**3)
    linear = np.zeros((2, 2, 2, d, d, d, d))
    for pattern, indices in _patterns(d, 4):
        moment = task.initial.moment(np.bincount(pattern).tolist(), d)
        for lags in itertools.product((0, 1), repeat=3) if moment else ():
            linear[lags][indices] = moment * counts.products(pattern, lags)
    rows, columns = np.nonzero(matrix)
    return ClosedFormLoss(
        rows=jnp.asarray(rows, jnp.int32),
        columns=jnp.asarray(columns, jnp.int32),
        values=jnp.asarray(matrix[rows, columns], jnp.float32),
        linear=jnp.asarray(linear.transpose(6, 0, 3, 1, 4, 2, 5).reshape(d, width**3), jnp.float32),
        at_zero=jnp.float32(task.loss(0.0)),
    )


def _patterns(dimensions: int, number: int) -> Iterator[tuple[tuple[int, ...], tuple[np.ndarray, ...]]]:
    """Every equality pattern of `number` coordinates (a set partition), with the index tuples that have it."""
    by_pattern: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for index in itertools.product(range(dimensions), repeat=number):
        blocks: dict[int, int] = {}
        pattern = tuple(blocks.setdefault(i, len(blocks)) for i in index)
        by_pattern.setdefault(pattern, []).append(index)
    for pattern, indices in by_pattern.items():
        yield pattern, tuple(np.array(indices).T)


class _Counts:
    """Weighted counts of the triples (t, s, s') at which the phases of every coordinate cancel."""

    def __init__(self, length: int):
        t, s, s_prime = np.meshgrid(*[np.arange(1, length, dtype=np.int16)] * 3, indexing="ij", sparse=True)
        self.t, self.s, self.s_prime = t, s, s_prime
        self.causal, self.causal_prime = s <= t, s_prime <= t
        self.weight = np.zeros(length - 1)
        self.weight[1:] = 1 / np.arange(1, length - 1)
        self.cache: dict[object, float] = {}

    def squares(self, pattern: Sequence[int], lags: Sequence[int]) -> float:
        """sum_t sum_{s, s' <= t} [the phases of g_t g_t^* cancel] / (t - 1)^2."""
        a, b, c, a_prime, b_prime, c_prime = lags
        terms = [(1, 0, 0, -1 - a), (-1, 0, 0, 1 + b), (0, 0, 1, -1 - c)]
        terms += [(0, -1, 0, 1 + a_prime), (0, 1, 0, -1 - b_prime), (0, 0, -1, 1 + c_prime)]
        return self._count(pattern, terms, max(a, b), max(a_prime, b_prime), squared=True)

    def products(self, pattern: Sequence[int], lags: Sequence[int]) -> float:
        """sum_t sum_{s <= t} [the phases of g_t conj(x_{t+1}) cancel] / (t - 1)."""
        a, b, c = lags
        terms = [(1, 0, 0, -1 - a), (-1, 0, 0, 1 + b), (0, 0, 1, -1 - c), (0, 0, -1, 0)]
        return self._count(pattern, terms, max(a, b), 0, squared=False)

    def _count(self, pattern: Sequence[int], terms: list[Term], lag: int, lag_prime: int, squared: bool) -> float:
        sums = np.zeros((max(pattern) + 1, 4), int)
        np.add.at(sums, list(pattern), np.array(terms))
        if sums[:, 3].sum():  # the exponents of all coordinates add up to this constant, so not all of them are zero
            return 0.0
        conditions = frozenset(tuple(row) for row in sums.tolist() if any(row))
        if any(not any(row[:3]) for row in conditions):
            return 0.0
        cache_key = (conditions, lag, lag_prime, squared)
        if cache_key not in self.cache:
            self.cache[cache_key] = self._enumerate(conditions, lag, lag_prime, squared)
        return self.cache[cache_key]

    def _enumerate(self, conditions: frozenset, lag: int, lag_prime: int, squared: bool) -> float:
        # x_0 = 0, so the second half of a token is non-zero from position 2 on
        holds, s_prime = self.causal & (self.s > lag), self.s_prime if squared else np.int16(0)
        if squared:
            holds = holds & self.causal_prime & (s_prime > lag_prime)
        for of_s, of_s_prime, of_t, constant in conditions:
            holds = holds & (of_s * self.s + of_s_prime * s_prime + of_t * self.t + constant == 0)
        counts = holds.reshape(holds.shape[0], -1).sum(1)
        return float(counts @ self.weight ** (2 if squared else 1))
