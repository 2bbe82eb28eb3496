"""Kernels of Lion-K: convex functions K whose gradient turns momentum into an update (`lopt.protocols.Kernel`).

| kernel | the map | what the parameters are kept in |
|---|---|---|
| `L1` (Lion, Signum) | sign(m) | the box, max abs(x_i) <= 1 / lambda |
| `Huber(delta)` | clip(m / delta, -1, 1) | the box, and a ridge |
| `SoftThreshold(threshold)` | sign(m) where abs(m) > threshold | the box, and an l1 penalty |
| `LogCosh(a)` | tanh(a m) | the box, by a smooth barrier |
| `Relativistic(e)` | m / sqrt(m^2 + e^2) | the box, by a smooth barrier |
| `L2` | m / norm of the tree | the l2 ball of radius 1 / lambda |
| `Lp(p)` | sign(m) (abs(m) / p-norm)^(p - 1) | the lq ball, 1 / p + 1 / q = 1 |
| `LInf` | sign at the greatest | the l1 ball |
| `TopK(k)` | sign at the k greatest | the box and the l1 ball of radius k / lambda |
| `Group(axis)` | m / norm of its row (or axes) | an l2 ball per row |
| `PerLeaf(kernel)` | the kernel's, leaf by leaf | the kernel's set, for every leaf |
| `Nuclear(polar)` (Muon) | U V' | the spectral ball, by decomposition or `NewtonSchulz` |
| `Softmax(temperature)` | softmax(m / temperature) | the simplex of sum 1 / lambda |
| `HalfSquare` | m | everything; a ridge |
| `HalfL1Square` | l1 norm times sign(m) | everything; the square of the greatest |
| `Quadratic(apply, solve)` | P m | everything; a ridge in P^-1 |
"""

from lopt.optimizers.kernels.box import L1, Huber, LogCosh, Relativistic, SoftThreshold
from lopt.optimizers.kernels.groups import Group, PerLeaf
from lopt.optimizers.kernels.newton_schulz import NewtonSchulz
from lopt.optimizers.kernels.norms import L2, LInf, Lp
from lopt.optimizers.kernels.nuclear import Nuclear, polar
from lopt.optimizers.kernels.softmax import Softmax
from lopt.optimizers.kernels.squares import HalfL1Square, HalfSquare, Quadratic
from lopt.optimizers.kernels.top_k import TopK

__all__ = [
    "L1",
    "L2",
    "Group",
    "HalfL1Square",
    "HalfSquare",
    "Huber",
    "LInf",
    "LogCosh",
    "Lp",
    "NewtonSchulz",
    "Nuclear",
    "PerLeaf",
    "Quadratic",
    "Relativistic",
    "SoftThreshold",
    "Softmax",
    "TopK",
    "polar",
]
