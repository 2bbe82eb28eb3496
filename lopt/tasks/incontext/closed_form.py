"""The exact expected loss of one linear attention layer on diagonal unitary AR sequences, for arbitrary weights."""

import itertools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.tasks.incontext.autoregression import DiagonalUnitaryAR

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
