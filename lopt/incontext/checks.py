"""What every sequence model asks of its sizes and of what it is given."""

from typing import Any

from jaxtyping import Array


def at_least_one(model: Any, *names: str) -> None:
    """Check that these fields of a model are positive.

    Raises:
        ValueError: one of them is not.
    """
    for name in names:
        if getattr(model, name) < 1:
            raise ValueError(f"{type(model).__name__}: {name} must be at least 1 (got {getattr(model, name)})")


def fits(model: Any, xs: Array, ys_prev: Array, positions: int | None = None) -> None:
    """Check that a sequence is one that the model was made for; `positions` is the longest it can read.

    Raises:
        ValueError: it is not.
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


def per_head(model: Any) -> int:
    """The size of a head's keys: `key_size`, or the width divided by the heads where that is None.

    Raises:
        ValueError: a size below one, or heads that do not divide the width.
    """
    if model.key_size is not None:
        at_least_one(model, "key_size")
        return model.key_size
    if model.width % model.heads:
        raise ValueError(
            f"{type(model).__name__}: heads must divide the width, or key_size be given "
            f"(got {model.heads} and {model.width})"
        )
    return model.width // model.heads
