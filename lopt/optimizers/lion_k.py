"""Lion-K: the momentum mapped through the gradient of a convex function, with decoupled weight decay."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from lopt.optimizers.arguments import check_kernel, check_like, check_number, check_rate, untrained
from lopt.protocols import Kernel
from lopt.types import Params, PyTree


def scale_by_lion_k(
    kernel: Kernel, b1: ArrayLike = 0.9, b2: ArrayLike = 0.99, mu_dtype: DTypeLike | None = None
) -> optax.GradientTransformationExtraArgs:
    """The direction of Lion-K, to be subtracted: -grad K(-c) with c = b1 m + (1 - b1) g, then m <- b2 m + (1 - b2) g.

    For an even K (every kernel of lopt but `Softmax`) it is grad K(c). The state is optax's `ScaleByLionState`, so that
    checkpoints of `optax.lion` can be continued. Leaves without a gradient (None, or float0 for integers) have a
    direction of None or of zero.

    Args:
        kernel: K.
        b1: weight of the momentum in the direction.
        b2: decay of the momentum; the theory asks for b1 <= b2.
        mu_dtype: type of the momentum; None for the parameter's.

    Raises:
        ValueError: an object that is no kernel, betas outside [0, 1], a `mu_dtype` that is not floating; at `init`,
            parameters that the kernel cannot take; at `update`, gradients of another structure or shape than the
            parameters.

    Paper: arXiv 2310.05898 (the update of Lion-K).
    Differs: m has the gradient's sign, as in optax; in the paper it has the opposite sign. The direction has the
        gradient's type, where optax's has the widest type of all arguments.
    """
    check_kernel("Lion-K", kernel)
    check_number("Lion-K", "b1", b1, least=0, most=1)
    check_number("Lion-K", "b2", b2, least=0, most=1)
    dtype = None if mu_dtype is None else jax.dtypes.canonicalize_dtype(mu_dtype)
    if dtype is not None and not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(f"Lion-K: mu_dtype must be floating (got {dtype.name})")

    def init(params: Params) -> optax.ScaleByLionState:
        mu = jax.tree.map(lambda p: jnp.zeros_like(p, dtype=dtype if _trained(p) else None), params)
        jax.eval_shape(kernel.map, jax.tree.map(lambda m: m if _trained(m) else None, mu))
        return optax.ScaleByLionState(count=jnp.zeros([], jnp.int32), mu=mu)

    def update(
        updates: PyTree, state: optax.ScaleByLionState, params: Params | None = None, **extra_args: Any
    ) -> tuple[PyTree, optax.ScaleByLionState]:
        check_like("Lion-K", updates, state.mu)

        def mix(g, m):
            # -c, with the same rounding as c
            return None if untrained(g) else (b1 - 1.0) * g - b1 * m

        def momentum(g, m):
            return m if untrained(g) else ((1.0 - b2) * g + b2 * m).astype(m.dtype)

        ascent = kernel.map(jax.tree.map(mix, updates, state.mu))
        direction = jax.tree.map(_like, updates, _aligned(jax.tree.map(jnp.negative, ascent), updates))
        mu = jax.tree.map(momentum, updates, state.mu)
        return direction, optax.ScaleByLionState(count=optax.safe_increment(state.count), mu=mu)

    return optax.GradientTransformationExtraArgs(init, update)


def lion_k(
    kernel: Kernel,
    learning_rate: ArrayLike | optax.Schedule = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ArrayLike | optax.Schedule = 1e-3,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Lion-K: `x <- x - learning_rate (-grad K(-c) + weight_decay x)`, with c and m as in `scale_by_lion_k`.

    It minimises f(x) + K*(lambda x) / lambda with lambda the weight decay: for a norm K, f subject to
    |x|_dual <= 1 / lambda. From outside that set the distance to it shrinks by the factor 1 - learning_rate lambda per
    step, whatever f is; inside, x stays in the set as long as learning_rate lambda <= 1. (The default decay of 1e-3,
    optax's, allows |x_i| <= 1000 under `L1`: a constraint that binds needs a decay of about one.) `kkt_gap` measures
    the distance to a solution.

    Args:
        kernel: K, one of `lopt.optimizers.kernels` or any `lopt.protocols.Kernel`.
        learning_rate: a number, an array or a schedule (a function of the count).
        b1, b2, mu_dtype: as in `scale_by_lion_k`.
        weight_decay: lambda, multiplied by the learning rate; a number, an array or a schedule. With the number 0
            `update` does not need the parameters.
        mask: which leaves decay: a tree of booleans, a prefix of one, or a function from parameters to it.

    Example:
        tx = lopt.lion_k(lopt.optimizers.PerLeaf(lopt.optimizers.L2()), 1e-3, weight_decay=1.0)

    Raises:
        ValueError: a learning rate that is not positive or a negative weight decay (the values of arrays and schedules
            are not checked), or one that is no number, array or schedule; what `scale_by_lion_k` raises; at `update`,
            decay without parameters.

    Paper: arXiv 2310.05898 (the update, the constraint and its two phases).
    Differs: the decay is explicit (it acts on x before the step), as in optax; the paper's is implicit, which is the
        same with learning_rate = eps / (1 + eps lambda).
    """
    check_rate("Lion-K", "learning_rate", learning_rate, above=0)
    check_rate("Lion-K", "weight_decay", weight_decay, least=0)
    no_decay = isinstance(weight_decay, (int, float)) and weight_decay == 0
    inner = optax.chain(
        scale_by_lion_k(kernel, b1, b2, mu_dtype),
        optax.identity() if no_decay else optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )

    def update(updates: PyTree, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[PyTree, Any]:
        new, state = inner.update(updates, state, params, **extra_args)
        return jax.tree.map(_like, updates, new), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _trained(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _like(gradient: Any, update: Any) -> Any:
    """The update in the gradient's type; False, which adds nothing to a number of any type, where there is no
    gradient."""
    if untrained(gradient):
        return jnp.zeros(jnp.shape(gradient), bool)
    return update.astype(jnp.result_type(gradient))


def _aligned(tree: PyTree, like: PyTree) -> PyTree:
    """The leaves of `tree`, which lacks the untrained leaves of `like`, in the structure of `like`; None for those."""
    leaves = iter(jax.tree.leaves(tree))
    return jax.tree.map(lambda x: None if untrained(x) else next(leaves), like)
