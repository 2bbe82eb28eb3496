"""Lion, an optimizer discovered by symbolic search: the member of Lion-K with K the l1 norm."""

from typing import Any

import optax
from jax.typing import ArrayLike, DTypeLike

from lopt.optimizers.kernels import L1
from lopt.optimizers.lion_k import lion_k, scale_by_lion_k


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
