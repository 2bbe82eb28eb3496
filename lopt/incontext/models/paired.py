"""A sequence model whose tokens contain the query and the whole previous example."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt.protocols import SequenceModel
from lopt.types import Key, Theta


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
