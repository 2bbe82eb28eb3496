"""Data sets of supervised tasks, as NumPy arrays that all lifetimes share."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Examples:
    """Examples of a data set.

    Attributes:
        inputs: `[n, ...]`.
        targets: `[n]` integer classes, or `[n, ...]` real values.

    Raises:
        ValueError: there are no examples, or the numbers of inputs and targets differ.
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
    """A training set and a held-out set.

    Attributes:
        train: examples from which training minibatches are drawn.
        held_out: examples for meta-losses and evaluation; no inner update uses them.
        outputs: number of classes if targets are integers, number of features if they are real.

    Raises:
        ValueError: shapes or dtypes of the two sets differ, or a class is not in [0, outputs).
    """

    train: Examples
    held_out: Examples
    outputs: int

    def __post_init__(self) -> None:
        for name in ("inputs", "targets"):
            train, held_out = (getattr(part, name) for part in (self.train, self.held_out))
            if (train.shape[1:], train.dtype) != (held_out.shape[1:], held_out.dtype):
                raise ValueError(
                    f"Dataset: {name} of train and held_out must have one dtype and example shape (got "
                    f"{train.dtype}{list(train.shape)} and {held_out.dtype}{list(held_out.shape)})"
                )
        for part in (self.train, self.held_out):
            targets = part.targets
            if np.issubdtype(targets.dtype, np.integer) and not 0 <= targets.min() <= targets.max() < self.outputs:
                raise ValueError(
                    f"Dataset: classes must be in [0, {self.outputs}) (got {targets.min()} to {targets.max()})"
                )

    def select_classes(self, *classes: int) -> "Dataset":
        """The subset of the given classes, relabelled 0, 1, ... in the given order.

        Raises:
            ValueError: targets are not classes, `classes` is empty or has duplicates, or a class does not exist.
        """
        if not np.issubdtype(self.train.targets.dtype, np.integer) or self.train.targets.ndim != 1:
            raise ValueError(
                f"select_classes: targets must be one class per example (got {self.train.targets.dtype.name})"
            )
        if not classes or len(set(classes)) < len(classes) or not set(classes) <= set(range(self.outputs)):
            raise ValueError(f"select_classes: expected distinct classes in [0, {self.outputs}) (got {classes})")
        new_label = np.full(self.outputs, -1, np.int32)
        new_label[list(classes)] = np.arange(len(classes))

        def select(part: Examples) -> Examples:
            selected = new_label[part.targets] >= 0
            return Examples(part.inputs[selected], new_label[part.targets[selected]])

        return Dataset(select(self.train), select(self.held_out), len(classes))

    def autoencoding(self) -> "Dataset":
        """The autoencoding task on the same inputs: inputs and targets are both the flattened inputs."""

        def flatten(part: Examples) -> Examples:
            x = part.inputs.reshape(len(part), -1)
            return Examples(x, x)

        train = flatten(self.train)
        return Dataset(train, flatten(self.held_out), train.inputs.shape[1])


def split(inputs: np.ndarray, targets: np.ndarray, outputs: int, held_out: float = 0.25, seed: int = 0) -> Dataset:
    """Shuffle examples and split them into a training set and a held-out set, deterministically.

    Args:
        inputs: `[n, ...]`.
        targets: `[n, ...]`.
        outputs: as in `Dataset`.
        held_out: fraction of the examples in the held-out set.
        seed: seed of the permutation.

    Raises:
        ValueError: the fraction leaves one of the two sets empty.
    """
    number = round(held_out * len(inputs))
    if not 0 < number < len(inputs):
        raise ValueError(f"split: held_out must leave examples in both sets (got {held_out} of {len(inputs)})")
    order = np.random.default_rng(seed).permutation(len(inputs))
    train, rest = order[number:], order[:number]
    return Dataset(Examples(inputs[train], targets[train]), Examples(inputs[rest], targets[rest]), outputs)
