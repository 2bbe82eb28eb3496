"""The stationarity gap of the constrained problem that a Lion-K optimizer solves."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_kernel, check_like, check_number, untrained
from lopt.optimizers.kernels.sums import total
from lopt.protocols import Kernel
from lopt.types import Params, PyTree


def kkt_gap(params: Params, grads: PyTree, weight_decay: ArrayLike, kernel: Kernel) -> Float[Array, ""]:
    """S(x) = K(-grad f) + K*(lambda x) + lambda <x, grad f>: zero where x is stationary, positive elsewhere.

    Stationary means a KKT point of min f(x) + K*(lambda x) / lambda, the problem that
    `lion_k(kernel, weight_decay=lambda)` solves. For Lion and x inside the box it is sum |g_i| (1 + lambda x_i sign
    g_i), the Frank-Wolfe gap times lambda. Outside the constraint set it is infinite; `kernel.distance` of lambda x
    then gives the violation. With lambda = 0 it is K(-grad f).

    Args:
        params: x.
        grads: the gradient of the loss at x (of the whole loss, or of a batch large enough that noise is small).
        weight_decay: lambda.
        kernel: K.

    Raises:
        ValueError: an object that is no kernel, a decay that is no number or negative, or gradients of another
            structure or shape than the parameters.

    Paper: arXiv 2310.05898 (the points where its Lyapunov function is stationary).
    """
    check_kernel("kkt_gap", kernel)
    check_number("kkt_gap", "weight_decay", weight_decay, least=0)
    check_like("kkt_gap", grads, params)
    trained = jax.tree.map(lambda g: not untrained(g), grads)
    x = jax.tree.map(lambda p, keep: p * weight_decay if keep else None, params, trained)
    negative = jax.tree.map(lambda g, keep: -g if keep else None, grads, trained)
    return kernel.value(negative) + kernel.conjugate(x) - total(jnp.multiply, x, negative)
