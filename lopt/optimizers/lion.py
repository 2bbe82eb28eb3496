"""Lion, the Lion-K family, cautious updates, and the distance to a KKT point."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from lopt.optimizers.arguments import check_kernel, check_like, check_number, descend, like_gradient, untrained
from lopt.optimizers.kernels import L1, NewtonSchulz, Nuclear
from lopt.optimizers.kernels.sums import total
from lopt.protocols import Kernel
from lopt.types import Params, PyTree


def scale_by_lion(
    b1: ArrayLike = 0.9, b2: ArrayLike = 0.99, mu_dtype: DTypeLike | None = None
) -> optax.GradientTransformationExtraArgs:
    """The direction of Lion, to be subtracted: sign(b1 m + (1 - b1) g), then m <- b2 m + (1 - b2) g.

    Args and Raises: those of `scale_by_lion_k`.

    Paper: arXiv 2302.06675.
    Differs: kernels take the place of optax's argument `mode`: "smooth" is `scale_by_lion_k(LogCosh(smooth_beta))`,
        "refined" is `scale_by_lion_k(Huber(1.0))`.
    """
    return scale_by_lion_k(L1(), b1, b2, mu_dtype)


def lion(
    learning_rate: ArrayLike | optax.Schedule = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ArrayLike | optax.Schedule = 1e-3,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Lion: `x <- x - learning_rate (sign(b1 m + (1 - b1) g) + weight_decay x)`, then m <- b2 m + (1 - b2) g.

    In float32 updates and states equal those of `optax.lion` up to rounding. Good learning rates are 3 to 10 times
    smaller than AdamW's, and weight decays larger by the same factor.

    Example:
        tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.lion(1e-4, weight_decay=1.0))

    Args and Raises: those of `lion_k`, of which this is the kernel `L1`.

    Paper: arXiv 2302.06675; as a constrained optimizer: arXiv 2310.05898.
    Differs: the learning rate has a default, and updates have the gradient's type (optax's have the widest type of all
        arguments).
    """
    return lion_k(L1(), learning_rate, b1, b2, mu_dtype, weight_decay, mask)


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
        direction = jax.tree.map(like_gradient, updates, _aligned(jax.tree.map(jnp.negative, ascent), updates))
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
    direction = scale_by_lion_k(kernel, b1, b2, mu_dtype)
    return descend("Lion-K", direction, learning_rate, weight_decay, mask)


def muon(
    learning_rate: ArrayLike | optax.Schedule = 2e-2,
    b1: ArrayLike = 0.95,
    b2: ArrayLike = 0.95,
    *,
    weight_decay: ArrayLike | optax.Schedule = 0.0,
    polar: Callable[[jax.Array], jax.Array] | None = None,
    vectors: optax.GradientTransformation | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Muon as a member of the Lion-K family: matrices are moved by the polar factor U V' of their momentum.

    Leaves with two axes or more are stacks of matrices (the last two axes) and get `lion_k` with the kernel
    `Nuclear(NewtonSchulz())`; all others get `vectors`.

    Args:
        learning_rate: a number, an array or a schedule; every singular value of an update has about this size.
        b1, b2: as in `lion_k`.
        weight_decay: lambda; with lambda > 0 the spectral norm of a matrix stays below 1 / lambda.
        polar: computes U V'; by default `NewtonSchulz()`.
        vectors: optimizer of leaves that are no matrices; by default Lion with a tenth of a fixed learning rate.

    Raises:
        ValueError: what `lion_k` raises; a schedule or array as learning rate without `vectors`.

    Paper: K. Jordan and others, Muon, 2024; arXiv 2310.05898 (K = nuclear norm).
    Differs: momentum as in Lion, no factor that depends on the matrix's shape, and Lion in place of AdamW for vectors.
        `optax.contrib.muon` is the original.
    """
    if vectors is None:
        if not isinstance(learning_rate, (int, float)):
            raise ValueError("muon: expected `vectors`, their optimizer, beside a schedule or array as learning rate")
        vectors = lion(0.1 * learning_rate, weight_decay=weight_decay)
    kernel = Nuclear(NewtonSchulz() if polar is None else polar)
    matrices = lion_k(kernel, learning_rate, b1, b2, weight_decay=weight_decay)

    def labels(params: Params) -> PyTree:
        return jax.tree.map(lambda x: "matrices" if jnp.ndim(x) >= 2 else "vectors", params)

    return optax.multi_transform({"matrices": matrices, "vectors": vectors}, labels)


def _trained(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _aligned(tree: PyTree, like: PyTree) -> PyTree:
    """The leaves of `tree`, which lacks the untrained leaves of `like`, in the structure of `like`; None for those."""
    leaves = iter(jax.tree.leaves(tree))
    return jax.tree.map(lambda x: None if untrained(x) else next(leaves), like)


def cautious(
    inner: optax.GradientTransformation, *, direction: bool = False, rescale: bool = True
) -> optax.GradientTransformationExtraArgs:
    """Mask the updates of `inner` to the elements that descend along the gradient that was passed in; the rest is zero.

    With u the update (to be added) and g the gradient, per leaf of n elements: u 1[-u g > 0] n / (sum 1[-u g > 0] + 1).
    The state is that of `inner`.

    The mask applies to the whole update of `inner`, weight decay included. To mask the direction alone, as the paper's
    code does: `optax.chain(lopt.cautious(lopt.scale_by_lion(), direction=True), optax.add_decayed_weights(1.0),
    optax.scale_by_learning_rate(1e-4))`. The rescaling multiplies the radius of Lion-K's constraint set by up to n.

    Args:
        inner: any optax transformation.
        direction: whether `inner` gives a direction to be subtracted later (`scale_by_lion`), not an update to be
            added.
        rescale: whether to multiply by the factor n / (sum + 1) above.

    Raises:
        ValueError: an `inner` that is no optax transformation.

    Paper: arXiv 2411.16085.
    Differs: the mask can apply to complete updates, decay included; in the paper's code it applies to the direction
        alone.
    """
    if not isinstance(inner, optax.GradientTransformation):
        raise ValueError(
            f"cautious: inner must be an optax transformation, such as lopt.lion() or optax.adam(1e-3) (got {inner!r})"
        )
    inner = optax.with_extra_args_support(inner)

    def mask(g, u):
        if untrained(g):
            return u
        descends = (u * g > 0) if direction else (u * g < 0)
        scale = descends.size / (jnp.sum(descends) + 1.0) if rescale else 1.0
        return jnp.where(descends, u * jnp.asarray(scale, u.dtype), jnp.zeros_like(u))

    def update(updates: PyTree, state: Any, params: Params | None = None, **extra_args: Any) -> tuple[PyTree, Any]:
        new, state = inner.update(updates, state, params, **extra_args)
        return jax.tree.map(mask, updates, new), state

    return optax.GradientTransformationExtraArgs(inner.init, update)


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
