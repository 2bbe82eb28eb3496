"""Real data sets that come with scikit-learn: nothing is downloaded."""

import functools
from typing import Any

import numpy as np

from lopt.tasks.dataset import Dataset, Examples, split


@functools.cache
def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels, `[8, 8, 1]` in [0, 1]; 10 classes."""
    images, labels = _load("load_digits")
    return split(images.reshape(-1, 8, 8, 1) / np.float32(16), labels, 10)


@functools.cache
def breast_cancer() -> Dataset:
    """569 tumours by 30 measurements; malignant (0) or benign (1)."""
    return _standardised(split(*_load("load_breast_cancer"), 2))


@functools.cache
def wine() -> Dataset:
    """178 wines by 13 chemical measurements; 3 growers."""
    return _standardised(split(*_load("load_wine"), 3))


@functools.cache
def iris() -> Dataset:
    """150 flowers by 4 lengths; 3 species."""
    return _standardised(split(*_load("load_iris"), 3))


@functools.cache
def diabetes() -> Dataset:
    """442 patients by 10 measurements; progression of the disease after a year, a number (standardised)."""
    inputs, targets = _load("load_diabetes")
    return _standardised(split(inputs, targets[:, None], 1))


def _load(name: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn import datasets

    inputs, targets = getattr(datasets, name)(return_X_y=True)
    return inputs.astype(np.float32), targets.astype(
        np.int32 if np.issubdtype(targets.dtype, np.integer) else np.float32
    )


def _standardised(data: Dataset) -> Dataset:
    """Mean 0 and variance 1 of every input, and of targets that are numbers, by the training examples."""

    def scale(like: np.ndarray, x: np.ndarray) -> Any:
        std = like.std(0)
        return ((x - like.mean(0)) / np.where(std > 0, std, 1)).astype(np.float32)

    numbers = np.issubdtype(data.train.targets.dtype, np.floating)

    def part(x: Examples) -> Examples:
        targets = scale(data.train.targets, x.targets) if numbers else x.targets
        return Examples(scale(data.train.inputs, x.inputs), targets)

    return Dataset(part(data.train), part(data.held_out), data.outputs)
