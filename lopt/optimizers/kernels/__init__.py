"""Kernels of Lion-K: convex functions K whose gradient maps the momentum to the update (`lopt.protocols.Kernel`).

| kernel | map grad K(m) | constraint on the parameters x, or penalty |
|---|---|---|
| `L1` (Lion, Signum) | sign(m) | the box max abs(x_i) <= 1 / lambda |
| `Huber(delta)` | clip(m / delta, -1, 1) | the box, with a ridge |
| `SoftThreshold(threshold)` | sign(m) where abs(m) > threshold | the box, with an l1 penalty |
| `LogCosh(a)` | tanh(a m) | the box, with a smooth barrier |
| `Relativistic(e)` | m / sqrt(m^2 + e^2) | the box, with a smooth barrier |
| `L2` | m / norm of the tree | the l2 ball of radius 1 / lambda |
| `Lp(p)` | sign(m) (abs(m) / p-norm)^(p - 1) | the lq ball, 1 / p + 1 / q = 1 |
| `LInf` | sign(m) at the largest element | the l1 ball |
| `TopK(k)` | sign(m) at the k largest elements | the box and the l1 ball of radius k / lambda |
| `Group(axis)` | m / norm of its row (or axes) | an l2 ball per row |
| `PerLeaf(kernel)` | the kernel's map of each leaf | the kernel's set for each leaf |
| `Nuclear(polar)` (Muon) | U V', exact or by `NewtonSchulz` | the spectral ball |
| `Softmax(temperature)` | softmax(m / temperature) | the simplex of sum 1 / lambda |
| `HalfSquare` | m | no constraint; a ridge |
| `HalfL1Square` | l1 norm times sign(m) | no constraint; the square of the largest parameter |
| `Quadratic(apply, solve)` | P m | no constraint; a ridge in P^-1 |
"""

from lopt.optimizers.kernels.box import L1, Huber, LogCosh, Relativistic, SoftThreshold
from lopt.optimizers.kernels.groups import Group, PerLeaf, Softmax, TopK
from lopt.optimizers.kernels.norms import (
    L2,
    HalfL1Square,
    HalfSquare,
    LInf,
    Lp,
    NewtonSchulz,
    Nuclear,
    Quadratic,
    polar,
)

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
