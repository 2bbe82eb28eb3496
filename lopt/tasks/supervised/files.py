"""Data sets from local files: IDX (the format of MNIST and its successors) and npz."""

import gzip
import math
import struct
import zipfile
from pathlib import Path

import numpy as np

from lopt.tasks.supervised.data import Dataset, Examples

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
"""NumPy dtypes by the type codes of the IDX format."""


def load_idx(path: str | Path) -> np.ndarray:
    """Read the array of an IDX file, which may be compressed by gzip.

    Raises:
        ValueError: the file does not exist, is not an IDX file, is a damaged gzip file, or is too short or too long.
    """
    path = _existing(path)
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError) as error:
            raise ValueError(f"load_idx: {path} is a damaged gzip file ({error}); download it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES:
        raise ValueError(
            f"load_idx: {path} is not an IDX file (got first bytes {data[:4].hex()}, expected 0000, a type in "
            f"{sorted(TYPES)} and the number of axes)"
        )
    rank, dtype = data[3], np.dtype(TYPES[data[2]])
    start = 4 + 4 * rank
    if len(data) < start:
        raise ValueError(f"load_idx: {path} ends within its header (got {len(data)} bytes, expected {start} or more)")
    shape = struct.unpack(f">{rank}I", data[4:start])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        fault = "is truncated" if len(data) < expected else "has bytes after the array's end"
        raise ValueError(
            f"load_idx: {path} {fault} (got {len(data)} bytes, expected {expected} for shape {shape} of {dtype.name})"
        )
    return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


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
        ValueError: the file does not exist, is damaged or lacks an array, or the arrays are not images and labels.
    """
    path = _existing(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            if missing:
                raise ValueError(f"load_npz: {path} lacks {', '.join(missing)} (got {', '.join(file.files)})")
            train, train_labels, test, test_labels = (file[name] for name in names)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"load_npz: {path} is not an npz file, or is truncated ({error})") from error
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
        ValueError: images have another rank, or labels are not one integer per image.
    """
    parts = []
    for name, images, labels in (("train", train, train_labels), ("test", test, test_labels)):
        if images.ndim not in (3, 4) or labels.shape != images.shape[:1]:
            raise ValueError(
                f"{where}: expected {name} images [n, height, width] or with channels, and labels [n] "
                f"(got shapes {images.shape} and {labels.shape})"
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"{where}: {name} labels must be integers (got {labels.dtype.name})")
        images = images if images.ndim == 4 else images[..., None]
        scale = np.float32(255 if images.dtype == np.uint8 else 1)
        parts.append(Examples(images.astype(np.float32) / scale, labels.astype(np.int32)))
    return Dataset(parts[0], parts[1], int(max(train_labels.max(), test_labels.max())) + 1)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist; lopt downloads nothing, put the file there")
    return path


def _plain_or_gzip(folder: Path, name: str) -> Path:
    return next((folder / n for n in (name, f"{name}.gz") if (folder / n).is_file()), folder / name)
