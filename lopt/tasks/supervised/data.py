"""Data sets: bundled ones, drawn letters, and their splits; data sets from local files in IDX (the format of MNIST and
its successors) and npz.
"""

import functools
import gzip
import math
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
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


TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""NumPy dtypes by the type codes of the IDX format."""


MAX_BYTES = 2**32
"""Largest size of a file's arrays, uncompressed; a larger file is refused before it is decompressed."""
MAX_AXES, MAX_CLASSES = 8, 2**20
"""Largest number of axes of an IDX file, and of classes of a data set."""


def load_idx(path: str | Path) -> np.ndarray:
    """Read the array of an IDX file, which may be compressed by gzip.

    Of a compressed file no more is decompressed than its header announces.

    Raises:
        ValueError: the file cannot be read, is not an IDX file, is a damaged gzip file, is too short or too long, or
            announces more than `MAX_BYTES`; the message names the file.
    """
    path = _existing(path)
    try:
        with open(path, "rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.GzipFile(fileobj=raw) if compressed else raw as file:
                return _read_idx(path, file)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"load_idx: {path} cannot be read, or is a damaged gzip file ({error})") from error


def _read_idx(path: Path, file: Any) -> np.ndarray:
    first = file.read(4)
    if len(first) < 4 or first[:2] != b"\0\0" or first[2] not in TYPES or first[3] > MAX_AXES:
        raise ValueError(
            f"load_idx: {path} is not an IDX file (got first bytes {first.hex()}, expected 0000, a type in "
            f"{sorted(TYPES)} and the number of axes, at most {MAX_AXES})"
        )
    rank, dtype = first[3], np.dtype(TYPES[first[2]])
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(
            f"load_idx: {path} ends within its header (got {4 + len(header)} bytes, expected {4 + 4 * rank} or more)"
        )
    shape = struct.unpack(f">{rank}I", header)
    size = math.prod(shape) * dtype.itemsize
    if size > MAX_BYTES or max(shape, default=0) > MAX_BYTES or 0 in shape:
        raise ValueError(
            f"load_idx: {path} announces an array of shape {shape} of {dtype.name}, expected 1 to {MAX_BYTES} bytes"
        )
    data = file.read(size + 1)
    if len(data) != size:
        fault = "is truncated" if len(data) < size else "has bytes after the array's end"
        raise ValueError(
            f"load_idx: {path} {fault} (got {4 + len(header) + len(data)} bytes{' or more' * (len(data) > size)}, "
            f"expected {4 + len(header) + size} for shape {shape} of {dtype.name})"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def idx_images(folder: str | Path) -> Dataset:
    """Read the four files of an MNIST-like data set, with or without `.gz`; the test set is the held-out set.

    The files are `{train,t10k}-images-idx3-ubyte` and `{train,t10k}-labels-idx1-ubyte`.

    Raises:
        ValueError: a file is missing, or is not an IDX file of images or of labels.
    """
    train, train_labels, test, test_labels = (
        load_idx(_plain_or_gzip(Path(folder), f"{part}-{content}-ubyte"))
        for part in ("train", "t10k")
        for content in ("images-idx3", "labels-idx1")
    )
    return image_dataset(train, train_labels, test, test_labels, where=str(folder))


def load_npz(
    path: str | Path, names: tuple[str, str, str, str] = ("x_train", "y_train", "x_test", "y_test")
) -> Dataset:
    """Read images and labels from an npz file, such as Keras's `mnist.npz`; the test set is the held-out set.

    Args:
        path: the file.
        names: names of the arrays of training images, training labels, test images and test labels.

    Raises:
        ValueError: the file does not exist, is damaged, lacks an array or has more than `MAX_BYTES` of them, or the
            arrays are not images and labels; the message names the file.
    """
    path = _existing(path)
    try:
        with zipfile.ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > MAX_BYTES:
            raise ValueError(f"it has {size} bytes of arrays, at most {MAX_BYTES} are read")
        with np.load(path, allow_pickle=False) as file:
            found = file.files
            arrays = {name: file[name] for name in names if name in found}
    except Exception as error:  # damaged archives raise errors of a dozen kinds, depending on the byte
        raise ValueError(f"load_npz: {path} is not an npz file, or is damaged ({error})") from error
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"load_npz: {path} lacks {', '.join(missing)} (got {', '.join(found)})")
    train, train_labels, test, test_labels = (arrays[name] for name in names)
    return image_dataset(train, train_labels, test, test_labels, where=str(path))


def image_dataset(
    train: np.ndarray, train_labels: np.ndarray, test: np.ndarray, test_labels: np.ndarray, where: str = "the arrays"
) -> Dataset:
    """A classification data set from arrays; images of bytes are scaled to [0, 1].

    Args:
        train: training images `[n, height, width]` or `[n, height, width, channels]`.
        train_labels: integer classes `[n]`.
        test: held-out images.
        test_labels: their classes.
        where: where the arrays come from, for error messages.

    Raises:
        ValueError: images have another rank, are not finite real numbers or differ in shape between the sets, or labels
            are not one integer in [0, `MAX_CLASSES`) per image.
    """
    parts, outputs = [], 0
    for name, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
        if images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where}: expected {name} images [n, height, width] or with channels, and labels [n] "
                f"(got shapes {images.shape} and {labels.shape})"
            )
        if not images.size or images.dtype.kind not in "buif":
            raise ValueError(
                f"{where}: {name} images must be real numbers, at least one (got {images.dtype}{list(images.shape)})"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{where}: {name} labels must be integers (got {labels.dtype.name})")
        if not 0 <= int(labels.min()) <= int(labels.max()) < MAX_CLASSES:
            raise ValueError(
                f"{where}: {name} labels must be in [0, {MAX_CLASSES}) (got {labels.min()} to {labels.max()})"
            )
        outputs = max(outputs, int(labels.max()) + 1)
        images = images if images.ndim == 4 else images[..., None]
        with np.errstate(over="ignore"):
            scaled = images.astype(np.float32) / np.float32(255 if images.dtype == np.uint8 else 1)
        if not np.isfinite(scaled).all():
            raise ValueError(f"{where}: {name} images must be finite in float32 (got NaN or infinity)")
        parts.append(Examples(scaled, labels.astype(np.int32)))
    try:
        return Dataset(parts[0], parts[1], outputs)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; lopt downloads nothing, put the file there")
    return path


def _plain_or_gzip(folder: Path, name: str) -> Path:
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).is_file()), folder / name)
