"""Data sets from local files: IDX (the format of MNIST and its successors) and npz."""

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lopt.tasks.supervised.data import Dataset, Examples

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""NumPy dtypes by the type codes of the IDX format."""


MAX_BYTES = 2**32
"""Largest size of a file's arrays, uncompressed; a larger file is refused before it is decompressed."""
MAX_AXES, MAX_CLASSES = 8, 2**20


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
