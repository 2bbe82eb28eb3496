"""A sequence model whose tokens hold a whole example beside the next question."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.protocols import SequenceModel
from lopt.types import Key, Theta


@dataclass(frozen=True)
class Paired:
    """`model` on the inputs (x_t, x_{t-1}), x_0 = 0: beside y_{t-1} stands the input that it belongs to.

    Without this a model must first learn to bring every label together with the input of the token before, which takes
    a layer and most of a short training.

    Attributes:
        inputs: width of x.
        model: a model of inputs twice as wide.

    Raises:
        ValueError: a model of inputs of another width.

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
        """Width of y as it is told."""
        width: int = getattr(self.model, "targets")  # noqa: B009
        return width

    def init(self, key: Key) -> Theta:
        """The model's."""
        return self.model.init(key)

    def apply(self, theta: Theta, xs: Float[Array, "T X"], ys_prev: Float[Array, "T Y"]) -> Float[Array, "T F"]:
        """Predictions."""
        if xs.ndim != 2 or xs.shape[1] != self.inputs or ys_prev.shape[:1] != xs.shape[:1]:
            raise ValueError(
                f"Paired: expected xs [T, {self.inputs}] and ys_prev [T, {getattr(self.model, 'targets', 'Y')}] "
                f"(got {list(xs.shape)} and {list(ys_prev.shape)})"
            )
        before = jnp.concatenate([jnp.zeros_like(xs[:1]), xs[:-1]])
        return self.model.apply(theta, jnp.concatenate([xs, before], -1), ys_prev)

    def state_size(self, length: int) -> int:
        """The model's, and the last x."""
        return self.model.state_size(length) + self.inputs
