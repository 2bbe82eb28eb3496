"""Parts that sequence models share: checks of their input, residual blocks, and tokens with the previous example."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.protocols import SequenceModel
from lopt.types import Key, Theta


def check_positive(model: Any, *names: str) -> None:
    """Check that the fields `names` of a model are at least one.

    Raises:
        ValueError: one of them is below one.
    """
    for name in names:
        if getattr(model, name) < 1:
            raise ValueError(f"{type(model).__name__}: {name} must be at least 1 (got {getattr(model, name)})")


def check_sequence(model: Any, xs: Array, ys_prev: Array, positions: int | None = None) -> None:
    """Check that a sequence has the widths `model.inputs` and `model.targets`, and at most `positions` examples.

    Raises:
        ValueError: a width differs, or the sequence is too long.
    """
    name = type(model).__name__
    expected = (len(xs), model.inputs), (len(xs), model.targets)
    if (xs.shape, ys_prev.shape) != expected:
        raise ValueError(
            f"{name}: expected xs [T, {model.inputs}] and ys_prev [T, {model.targets}] "
            f"(got {list(xs.shape)} and {list(ys_prev.shape)})"
        )
    if positions is not None and len(xs) > positions:
        raise ValueError(f"{name}: the sequence has {len(xs)} examples, the model has {positions} positions")


def head_size(model: Any) -> int:
    """Width of a head's queries, keys and values: `key_size`, or `width / heads` if that is None.

    Raises:
        ValueError: `key_size` is below one, or is None and `heads` does not divide `width`.
    """
    if model.key_size is not None:
        check_positive(model, "key_size")
        return model.key_size
    if model.width % model.heads:
        raise ValueError(
            f"{type(model).__name__}: heads must divide width, or key_size must be given "
            f"(got heads {model.heads} and width {model.width})"
        )
    return model.width // model.heads


class Blocks(nn.Module):
    """Embedding, L pre-LN residual blocks and a linear output layer; a block is u += mix(norm(u)), u += mlp(norm(u)).

    Attributes:
        outputs: width of the output layer.
        width: of the residual stream.
        layers: L.
        expansion: hidden width of the MLP, as a multiple of `width`.
        mix: makes the token-mixing module `[T, width] -> [T, width]` from its name and the initialiser of its output
            projection.
        positions: number of learned position embeddings; None for no position embeddings.
    """

    outputs: int
    width: int
    layers: int
    expansion: int
    mix: Callable[[str, nn.initializers.Initializer], nn.Module]
    positions: int | None = None

    @nn.compact
    def __call__(self, tokens: Float[Array, "T E"]) -> Float[Array, "T F"]:
        """Outputs `[T, outputs]` for the input tokens of one sequence."""
        u = nn.Dense(self.width, name="embed")(tokens)
        if self.positions is not None:
            position = self.param("position", nn.initializers.normal(0.02), (self.positions, self.width))
            u = u + position[: len(tokens)]
        output_init = nn.initializers.variance_scaling(1 / (2 * self.layers), "fan_in", "truncated_normal")
        for i in range(self.layers):
            u = u + self.mix(f"mix_{i}", output_init)(nn.LayerNorm(name=f"norm_mix_{i}")(u))
            h = nn.Dense(self.expansion * self.width, name=f"hidden_{i}")(nn.LayerNorm(name=f"norm_hidden_{i}")(u))
            u = u + nn.Dense(self.width, kernel_init=output_init, name=f"out_{i}")(nn.gelu(h))
        return nn.Dense(self.outputs, name="head")(nn.LayerNorm(name="norm_head")(u))


@dataclass(frozen=True)
class Paired:
    """Applies `model` to the inputs (x_t, x_{t-1}) with x_0 = 0, so that a token has both halves of example t - 1.

    Without it a model must first learn to combine every label with the input of the previous token, which takes one
    layer and most of a short meta-training run.

    Attributes:
        inputs: width of x.
        model: a sequence model with inputs of width 2 `inputs`.

    Raises:
        ValueError: the model has another input width.

    Paper: arXiv 2309.05858, section 3 (constructed tokens).
    """

    inputs: int
    model: SequenceModel

    def __post_init__(self) -> None:
        width = getattr(self.model, "inputs", None)
        if width != 2 * self.inputs:
            raise ValueError(f"Paired: the model must have inputs of width {2 * self.inputs} (got {width})")

    @property
    def targets(self) -> int:
        """Width of the previous label `ys_prev[t]`."""
        width: int = getattr(self.model, "targets")  # noqa: B009
        return width

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters of the inner model."""
        return self.model.init(key)

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions `[T, outputs]` of y_t from x_1, ..., x_t and y_1, ..., y_{t-1}."""
        if xs.ndim != 2 or xs.shape[1] != self.inputs or ys_prev.shape[:1] != xs.shape[:1]:
            raise ValueError(
                f"Paired: expected xs [T, {self.inputs}] and ys_prev [T, {getattr(self.model, 'targets', 'Y')}] "
                f"(got {list(xs.shape)} and {list(ys_prev.shape)})"
            )
        previous = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
        return self.model.apply(theta, jnp.concatenate([xs, previous], -1), ys_prev)

    def state_size(self, length: int) -> int:
        """State size of the inner model, plus the previous x."""
        return self.model.state_size(length) + self.inputs
