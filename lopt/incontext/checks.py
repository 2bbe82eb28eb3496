"""Checks of a sequence model's sizes and inputs."""

from typing import Any

from jaxtyping import Array


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
