"""Data sets: bundled ones, drawn letters, and their splits."""

import functools
from dataclasses import dataclass
from typing import Any

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


@functools.cache
def digits() -> Dataset:
    """Classification of 1,797 handwritten digits: images `[8, 8, 1]` in [0, 1], 10 classes."""
    images, labels = _load("load_digits")
    return split(images.reshape(-1, 8, 8, 1) / np.float32(16), labels, 10)


@functools.cache
def breast_cancer() -> Dataset:
    """Classification of 569 tumours from 30 standardised measurements: malignant (0) or benign (1)."""
    return _standardised(split(*_load("load_breast_cancer"), 2))


@functools.cache
def wine() -> Dataset:
    """Classification of 178 wines from 13 standardised chemical measurements: 3 cultivars."""
    return _standardised(split(*_load("load_wine"), 3))


@functools.cache
def iris() -> Dataset:
    """Classification of 150 iris flowers from 4 standardised lengths: 3 species."""
    return _standardised(split(*_load("load_iris"), 3))


@functools.cache
def diabetes() -> Dataset:
    """Regression on 442 patients: 10 measurements; target `[1]`: disease progression after a year, standardised."""
    inputs, targets = _load("load_diabetes")
    return _standardised(split(inputs, targets[:, None], 1))


def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    inputs, targets = getattr(datasets, name)(return_X_y=True)
    return inputs.astype(np.float32), targets.astype(
        np.int32 if np.issubdtype(targets.dtype, np.integer) else np.float32
    )


def _standardised(data: Dataset) -> Dataset:
    """Standardise every input, and real-valued targets, by mean and standard deviation of the training examples."""

    def scale(train: np.ndarray, x: np.ndarray) -> Any:
        std = train.std(0)
        return ((x - train.mean(0)) / np.where(std > 0, std, 1)).astype(np.float32)

    regression = np.issubdtype(data.train.targets.dtype, np.floating)

    def standardise(part: Examples) -> Examples:
        targets = scale(data.train.targets, part.targets) if regression else part.targets
        return Examples(scale(data.train.inputs, part.inputs), targets)

    return Dataset(standardise(data.train), standardise(data.held_out), data.outputs)


FINE, COARSE, VARIANTS = 32, 8, 60


@functools.cache
def letters(alphabet: str = "ABCDEFGHIJ") -> Dataset:
    """Classification of letters in matplotlib's default font: 60 random images `[8, 8, 1]` in [0, 1] per class.

    Every image is rotated, sheared, scaled and translated at random, with standard deviations 0.15 radians, 0.15,
    0.1 (of the logarithm) and half a pixel. Images are rasterised at 32 x 32 points and averaged over 4 x 4 blocks.

    Args:
        alphabet: the characters, one class each, in the order of the labels.

    Raises:
        ValueError: `alphabet` is empty, or has a character twice or one without outlines.
    """
    if len(set(alphabet)) < len(alphabet) or not alphabet.strip() == alphabet != "":
        raise ValueError(f"letters: expected distinct visible characters (got {alphabet!r})")
    rng = np.random.default_rng(0)
    images = [_rasterise(character, rng) for character in alphabet for _ in range(VARIANTS)]
    labels = np.repeat(np.arange(len(alphabet), dtype=np.int32), VARIANTS)
    return split(np.stack(images), labels, len(alphabet))


def _rasterise(character: str, rng: np.random.Generator) -> np.ndarray:
    """A random variant of a character as an image `[8, 8, 1]`."""
    outlines, centre, size = _outlines(character)
    angle, shear, scale = rng.normal(0, 0.15), rng.normal(0, 0.15), np.exp(rng.normal(0, 0.1))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * rotation @ np.array([[1, shear], [0, 1]])
    axis = (np.arange(FINE) + 0.5) / FINE * 2 - 1
    across, down = np.meshgrid(axis, -axis)
    points = np.stack([across.ravel(), down.ravel()], -1) - rng.normal(0, 0.5 * 2 / COARSE, 2)
    points = points @ np.linalg.inv(matrix).T * (size / 1.5) + centre
    # a point inside an even number of outlines is in a hole
    inside = np.logical_xor.reduce([outline.contains_points(points) for outline in outlines])
    fine = inside.reshape(COARSE, FINE // COARSE, COARSE, FINE // COARSE)
    return fine.mean((1, 3), dtype=np.float32)[..., None]


@functools.cache
def _outlines(character: str) -> tuple[list, np.ndarray, float]:
    """Closed outlines of a character, their centre, and the larger of their width and height."""
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), character, size=1)
    low, high = path.vertices.min(0), path.vertices.max(0)
    return [Path(corners) for corners in path.to_polygons()], (low + high) / 2, (high - low).max()
