"""Data sets that are distributed with scikit-learn, so that nothing is downloaded."""

import functools
from typing import Any

import numpy as np

from lopt.tasks.dataset import Dataset, Examples, split


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
