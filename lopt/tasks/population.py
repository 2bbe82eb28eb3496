"""The exact expected loss of one layer of linear attention on rotating sequences, for weights of any shape."""

import itertools
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float, Int

from lopt.tasks.rotations import Rotations

Term = tuple[int, int, int, int]
"""s_1 s + s_2 s' + s_3 t + s_4: what the phase of one coordinate is raised to."""


class PopulationLoss(struct.PyTreeNode):
    """L(W_PV, W_KQ) = sum_i (1/2 u_i^T Q u_i - v_i^T u_i) + L(0), with u_i the outer product of row i of W_PV and W_KQ.

    The prediction is linear in u_i: y_{t,i} = u_i . g_t, where g_t = sum_{s<=t} e_s (x) e_s^* (x) e_t / (t - 1). Hence
    Q = sum_t E g_t g_t^* and v_i = sum_t E g_t conj(x_{t+1,i}); most of their entries are zero.
    """

    rows: Int[Array, " n"]
    columns: Int[Array, " n"]
    values: Float[Array, " n"]
    linear: Float[Array, "d W3"]
    at_zero: Float[Array, ""]

    def __call__(self, pv: Float[Array, "d W"], kq: Float[Array, "W W"]) -> Float[Array, ""]:
        """L."""
        u = (pv[:, :, None, None] * kq[None, None]).reshape(pv.shape[0], -1)
        quadratic = (self.values * (u[:, self.rows] * u[:, self.columns]).sum(0)).sum()
        return 0.5 * quadratic - (self.linear * u).sum() + self.at_zero


def population_loss(task: Rotations) -> PopulationLoss:
    """sum_{t=2}^{T-1} E 1/2 |y_t - x_{t+1}|^2 for y_t = W_PV E_t E_t^* W_KQ e_t / (t - 1), e_t = (x_t, x_{t-1}).

    The expectation over the angles is a count: a product of powers of independent phases has mean one where every
    coordinate's powers cancel, and else zero. The moments of x_1 do the rest. A few seconds for T = 100; memory grows
    as d^6.
    """
    d, width = task.dimensions, 2 * task.dimensions
    counts = _Counts(task.length)
    # [lag, coordinate] of the value, of the key and of the query, twice
    shape = (2, d) * 6
    quadratic = np.zeros(tuple(shape[i] for i in (0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11)))
    for pattern, places in _patterns(d, 6):
        moment = task.start.moment(np.bincount(pattern).tolist(), d)
        for lags in itertools.product((0, 1), repeat=6) if moment else ():
            count = counts.squares(pattern, lags)
            if count:
                quadratic[lags][places] = moment * count
    matrix = quadratic.transpose(0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11).reshape(width**3, width**3)
    linear = np.zeros((2, 2, 2, d, d, d, d))
    for pattern, places in _patterns(d, 4):
        moment = task.start.moment(np.bincount(pattern).tolist(), d)
        for lags in itertools.product((0, 1), repeat=3) if moment else ():
            linear[lags][places] = moment * counts.products(pattern, lags)
    rows, columns = np.nonzero(matrix)
    return PopulationLoss(
        rows=jnp.asarray(rows, jnp.int32),
        columns=jnp.asarray(columns, jnp.int32),
        values=jnp.asarray(matrix[rows, columns], jnp.float32),
        linear=jnp.asarray(linear.transpose(6, 0, 3, 1, 4, 2, 5).reshape(d, width**3), jnp.float32),
        at_zero=jnp.float32(task.loss(0.0)),
    )


def _patterns(dimensions: int, number: int) -> Iterator[tuple[tuple[int, ...], tuple[np.ndarray, ...]]]:
    """Every way in which `number` coordinates can coincide, and the index tuples that do."""
    found: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for index in itertools.product(range(dimensions), repeat=number):
        names: dict[int, int] = {}
        pattern = tuple(names.setdefault(i, len(names)) for i in index)
        found.setdefault(pattern, []).append(index)
    for pattern, indices in found.items():
        yield pattern, tuple(np.array(indices).T)


class _Counts:
    """Weighted numbers of (t, s, s') at which all phases cancel."""

    def __init__(self, length: int):
        t, s, other = np.meshgrid(*[np.arange(1, length, dtype=np.int16)] * 3, indexing="ij", sparse=True)
        self.t, self.s, self.other = t, s, other
        self.below, self.other_below = s <= t, other <= t
        self.weight = np.zeros(length - 1)
        self.weight[1:] = 1 / np.arange(1, length - 1)
        self.known: dict[object, float] = {}

    def squares(self, pattern: Sequence[int], lags: Sequence[int]) -> float:
        """sum_t sum_{s, s' <= t} [the phases of g_t g_t^* cancel] / (t - 1)^2."""
        a, b, c, other_a, other_b, other_c = lags
        terms = [(1, 0, 0, -1 - a), (-1, 0, 0, 1 + b), (0, 0, 1, -1 - c)]
        terms += [(0, -1, 0, 1 + other_a), (0, 1, 0, -1 - other_b), (0, 0, -1, 1 + other_c)]
        return self._count(pattern, terms, max(a, b), max(other_a, other_b), squared=True)

    def products(self, pattern: Sequence[int], lags: Sequence[int]) -> float:
        """sum_t sum_{s <= t} [the phases of g_t conj(x_{t+1}) cancel] / (t - 1)."""
        a, b, c = lags
        terms = [(1, 0, 0, -1 - a), (-1, 0, 0, 1 + b), (0, 0, 1, -1 - c), (0, 0, -1, 0)]
        return self._count(pattern, terms, max(a, b), 0, squared=False)

    def _count(self, pattern: Sequence[int], terms: list[Term], lag: int, other_lag: int, squared: bool) -> float:
        sums = np.zeros((max(pattern) + 1, 4), int)
        np.add.at(sums, list(pattern), np.array(terms))
        if sums[:, 3].sum():  # every phase turned by one more angle: nothing else remains
            return 0.0
        wanted = frozenset(tuple(row) for row in sums.tolist() if any(row))
        if any(not any(row[:3]) for row in wanted):
            return 0.0
        name = (wanted, lag, other_lag, squared)
        if name not in self.known:
            self.known[name] = self._enumerate(wanted, lag, other_lag, squared)
        return self.known[name]

    def _enumerate(self, wanted: frozenset, lag: int, other_lag: int, squared: bool) -> float:
        # x_0 is zero, so a token's second half counts from its second place on
        holds, other = self.below & (self.s > lag), self.other if squared else np.int16(0)
        if squared:
            holds = holds & self.other_below & (other > other_lag)
        for of_s, of_other, of_t, constant in wanted:
            holds = holds & (of_s * self.s + of_other * other + of_t * self.t + constant == 0)
        numbers = holds.reshape(holds.shape[0], -1).sum(1)
        return float(numbers @ self.weight ** (2 if squared else 1))
