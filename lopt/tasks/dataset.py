"""Data for supervised tasks: arrays that are passed once, not per lifetime."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs `[n, ...]` and targets `[n, ...]`.

    Raises:
        ValueError: no examples, or another number of targets than of inputs.
    """

    inputs: np.ndarray
    targets: np.ndarray

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.targets) > 0:
            raise ValueError(
                "Examples: expected as many targets as inputs, and at least one "
                f"(got shapes {self.inputs.shape} and {self.targets.shape})"
            )

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is trained on, and what never is.

    Attributes:
        train: examples of minibatches.
        held_out: examples of meta-losses and measurements.
        outputs: classes of targets that are integers, features of targets that are numbers.

    Raises:
        ValueError: examples of two shapes or types, or classes that are not in [0, outputs).
    """

    train: Examples
    held_out: Examples
    outputs: int

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            one, other = (getattr(part, name) for part in (self.train, self.held_out))
            if (one.shape[1:], one.dtype) != (other.shape[1:], other.dtype):
                raise ValueError(
                    f"Dataset: {name} of train and held_out must be alike (got {one.dtype}{list(one.shape)} and "
                    f"{other.dtype}{list(other.shape)})"
                )
        for part in (self.train, self.held_out):
            targets = part.targets
            if np.issubdtype(targets.dtype, np.integer) and not 0 <= targets.min() <= targets.max() < self.outputs:
                raise ValueError(
                    f"Dataset: classes must be in [0, {self.outputs}) (got {targets.min()} to {targets.max()})"
                )

    def of_classes(self, *classes: int) -> "Dataset":
        """The examples of some classes, which are numbered anew in this order.

        Raises:
            ValueError: targets that are no classes, no class, or one that is not there or is there twice.
        """
        if not np.issubdtype(self.train.targets.dtype, np.integer) or self.train.targets.ndim != 1:
            raise ValueError(f"of_classes: targets must be one class per example (got {self.train.targets.dtype.name})")
        if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(range(self.outputs)):
            raise ValueError(f"of_classes: expected different numbers in [0, {self.outputs}) (got {classes})")
        number = np.full(self.outputs, -1, np.int32)
        number[list(classes)] = np.arange(len(classes))

        def some(part: Examples) -> Examples:
            kept = number[part.targets] >= 0
            return Examples(part.inputs[kept], number[part.targets[kept]])

        return Dataset(some(self.train), some(self.held_out), len(classes))

    def autoencoding(self) -> "Dataset":
        """The same inputs as their own targets, flattened."""

        def flat(part: Examples) -> Examples:
            x = part.inputs.reshape(len(part), -1)
            return Examples(x, x)

        train = flat(self.train)
        return Dataset(train, flat(self.held_out), train.inputs.shape[1])


def split(inputs: np.ndarray, targets: np.ndarray, outputs: int, held_out: float = 0.25, seed: int = 0) -> Dataset:
    """Shuffled and divided, always in the same way.

    Args:
        inputs: `[n, ...]`.
        targets: `[n, ...]`.
        outputs: as in `Dataset`.
        held_out: share of the examples that is never trained on.
        seed: of the shuffling.

    Raises:
        ValueError: a share that leaves one of the parts empty.
    """
    number = round(held_out * len(inputs))
    if not 0 < number < len(inputs):
        raise ValueError(f"split: held_out must leave both parts examples (got {held_out} of {len(inputs)})")
    order = np.random.default_rng(seed).permutation(len(inputs))
    rest, kept = order[number:], order[:number]
    return Dataset(Examples(inputs[rest], targets[rest]), Examples(inputs[kept], targets[kept]), outputs)
