"""Shared parts of the learned optimizers: checks and casts around `update`, and network calls batched over all
tensors."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lopt.optimizers.arguments import at_least_float32, check_like, untrained
from lopt.types import Params, PyTree, Theta


def check_theta(owner: str, theta: Theta, expected: Theta) -> None:
    """Check that meta-parameters have the structure and shapes of `expected` (arrays or shapes).

    Raises:
        ValueError: the meta-parameters of another architecture.
    """
    got: Any = jax.tree.structure(theta)
    structure: Any = jax.tree.structure(expected)
    if got != structure:
        raise ValueError(f"{owner}: theta must be that of this architecture (got {got}, expected {structure})")
    for (path, x), y in zip(jax.tree.leaves_with_path(theta), jax.tree.leaves(expected), strict=True):
        if jnp.shape(x) != y.shape:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"{owner}: theta{name} must have the shape of this architecture (got {jnp.shape(x)}, "
                f"expected {y.shape})"
            )


def transformation(
    owner: str,
    init: Callable[[Params], Any],
    update: Callable[..., tuple[PyTree, Any]],
    *,
    needs_params: bool = True,
) -> optax.GradientTransformationExtraArgs:
    """An optax transformation from functions that see only floating leaves, in float32 or wider.

    Args:
        owner: name of the optimizer for error messages.
        init: from parameters to the state.
        update: `update(grads, state, params, **extra) -> (step, state)`; the step is subtracted from the parameters, in
            the gradient's type. Integer leaves get zero updates.
        needs_params: whether `update` needs the parameters.

    Raises:
        ValueError: complex parameters, or none that is floating (at `init`); parameters that are missing, gradients
            that do not fit them, or a gradient of integers (at `update`).
    """

    def trained(gradient: Any, parameter: Any) -> bool:
        if not untrained(gradient) and not _floating(owner, parameter):
            raise ValueError(f"{owner}: parameters that have gradients must be floating (got {_kind(parameter)})")
        return not untrained(gradient)

    def init_floating(params: Params) -> Any:
        leaves = jax.tree.leaves(params)
        if leaves and not any([_floating(owner, leaf) for leaf in leaves]):
            raise ValueError(
                f"{owner}: one of the parameters at least must be floating (got {', '.join(map(_kind, leaves))})"
            )
        return init(jax.tree.map(lambda p: at_least_float32(p) if _floating(owner, p) else None, params))

    def update_floating(updates: PyTree, state: Any, params: Params | None = None, **extra: Any) -> tuple[PyTree, Any]:
        if params is None and needs_params:
            raise ValueError(f"{owner}: update needs the params (got None); call update(gradients, state, params)")
        like = updates if params is None else params
        check_like(owner, updates, like)
        grads = jax.tree.map(lambda g, p: at_least_float32(g) if trained(g, p) else None, updates, like)
        floating = jax.tree.map(lambda g, p: at_least_float32(p) if trained(g, p) else None, updates, like)
        if not jax.tree.leaves(grads):
            return updates, state
        step, state = update(grads, state, floating, **extra)
        steps = iter(jax.tree.leaves(step))

        def negative_step(g, p):
            # False adds nothing to a number of any type
            return (-next(steps)).astype(jnp.result_type(g)) if trained(g, p) else jnp.zeros(jnp.shape(g), bool)

        return jax.tree.map(negative_step, updates, like), state

    return optax.GradientTransformationExtraArgs(init_floating, update_floating)


def _kind(leaf: Any) -> str:
    return jnp.result_type(leaf).name


def _floating(owner: str, leaf: Any) -> bool:
    kind = jnp.result_type(leaf)
    if jnp.issubdtype(kind, jnp.complexfloating):
        raise ValueError(f"{owner}: parameters must be real (got {kind}); optimize real and imaginary parts instead")
    return jnp.issubdtype(kind, jnp.floating)


def perceptron(hidden: Sequence[int], features: int) -> nn.Sequential:
    """An MLP of ReLU layers (LeCun normal) whose output layer is initialised ten times smaller.

    The initial learned optimizer thus makes small steps. With larger ones the first steps make the loss of the learners
    diverge, and meta-training from there only learns to make no steps.
    """
    layers: list[Any] = []
    for width in hidden:
        layers += [nn.Dense(width), nn.relu]
    small = nn.initializers.variance_scaling(0.1**2, "fan_in", "truncated_normal")
    return nn.Sequential([*layers, nn.Dense(features, kernel_init=small)])


def apply(net: nn.Module, theta: Theta, *inputs: Any) -> Any:
    """The outputs of a Flax network with the parameters theta."""
    return net.apply({"params": theta}, *inputs)


def apply_to_all(net: nn.Module, theta: Theta, *inputs: PyTree) -> Any:
    """The outputs of a network for every parameter: a tree of `[*shape, F]`, or a tuple of such trees.

    `inputs` are trees of `[*shape, F]`. All tensors are concatenated to one batch, because one large matrix product
    costs less than many small ones. Tensors with explicit shardings are separate batches and keep their sharding.
    """
    columns = [jax.tree.leaves(tree) for tree in inputs]
    structure: Any = jax.tree.structure(inputs[0])
    first = columns[0]
    if any(_is_sharded(x) for x in first):
        parts = [apply(net, theta, *leaves) for leaves in zip(*columns, strict=True)]
    else:
        outputs = apply(net, theta, *(jnp.concatenate([x.reshape(-1, x.shape[-1]) for x in xs]) for xs in columns))
        ends = itertools.accumulate((x[..., 0].size for x in first), initial=0)
        parts = [_part(outputs, start, like) for start, like in zip(ends, first, strict=False)]
    parts = [jax.tree.map(partial(_like, like), part) for part, like in zip(parts, first, strict=True)]
    if isinstance(parts[0], tuple):
        return tuple(structure.unflatten(column) for column in zip(*parts, strict=True))
    return structure.unflatten(parts)


def _part(outputs: Any, start: int, like: Array) -> Any:
    """The outputs for the tensor `like`, whose rows begin at `start`, in its shape."""
    rows = slice(start, start + like[..., 0].size)
    return jax.tree.map(lambda out: out[rows].reshape(*like.shape[:-1], out.shape[-1]), outputs)


def _like(like: Array, x: Array) -> Array:
    return x.astype(like.dtype)


def _is_sharded(x: Array) -> bool:
    """Whether an axis of x has an explicit sharding."""
    sharding = jax.typeof(x).sharding
    return any(axes is not None for axes in sharding.spec)


def bounded_step(out: Float[Array, "*shape 2"], size: float, exponent: float) -> Float[Array, "*shape"]:
    """The step size d exp(exponent m) for a network's outputs (d, m)."""
    return size * out[..., 0] * jnp.exp(exponent * out[..., 1])
