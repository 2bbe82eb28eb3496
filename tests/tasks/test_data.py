"""Data sets: bundled ones, valid and damaged files, text, and generated letters."""

import gzip
import struct

import numpy as np
import pytest

from lopt import tasks
from lopt.tasks import Dataset, Examples, encode, idx_images, image_dataset, load_idx, load_npz, split

SIZES = {"digits": (1797, (8, 8, 1), 10), "breast_cancer": (569, (30,), 2), "wine": (178, (13,), 3)}
SIZES |= {"iris": (150, (4,), 3), "diabetes": (442, (10,), 1)}


@pytest.mark.parametrize("name", SIZES)
def test_bundled_data_sets(name):
    data, (number, shape, outputs) = getattr(tasks, name)(), SIZES[name]
    assert getattr(tasks, name)() is data
    assert len(data.train) + len(data.held_out) == number and data.outputs == outputs
    assert data.train.inputs.shape[1:] == shape and data.train.inputs.dtype == np.float32
    assert not {x.tobytes() for x in data.train.inputs} >= {x.tobytes() for x in data.held_out.inputs}
    if name == "digits":
        assert data.train.inputs.min() == 0 and data.train.inputs.max() == 1
        return
    np.testing.assert_allclose(data.train.inputs.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(data.train.inputs.std(0), 1, rtol=1e-4)
    assert 0.5 < data.held_out.inputs.std() < 1.5
    if name == "diabetes":
        np.testing.assert_allclose(data.train.targets.std(), 1, rtol=1e-4)
    else:
        assert set(np.unique(data.train.targets)) == set(range(outputs))


def test_split_is_a_deterministic_partition():
    x, y = np.arange(20.0)[:, None], np.arange(20)
    data, again = (split(x, y, 20, held_out=0.3) for _ in range(2))
    assert sorted([*data.train.targets, *data.held_out.targets]) == list(range(20)) and len(data.held_out) == 6
    np.testing.assert_array_equal(data.train.inputs[:, 0], data.train.targets)
    np.testing.assert_array_equal(data.train.targets, again.train.targets)
    autoencoding = data.autoencoding()
    assert autoencoding.train.targets is autoencoding.train.inputs and autoencoding.outputs == 1


def idx(array, code=8):
    """The bytes of an IDX file."""
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype({8: ">u1", 12: ">i4", 13: ">f4"}[code]).tobytes()


@pytest.mark.parametrize("code", [8, 12, 13])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_files_are_read(tmp_path, code, pack):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(pack(idx(array, code)))
    loaded = load_idx(tmp_path / "x")
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype.isnative


VALID = idx(np.zeros((2, 3, 4)))
INVALID = {
    "empty": (b"", "not an IDX file"),
    "of another format": (b"\x89PNG" + VALID, r"not an IDX file \(got first bytes 89504e47"),
    "of an unknown type": (b"\0\0\x07\x03" + VALID[4:], "not an IDX file"),
    "truncated in the header": (VALID[:10], r"ends within its header \(got 10 bytes, expected 16 or more\)"),
    "of too many axes": (b"\0\0\x08\xff" + b"\0\0\0\1" * 255 + b"\1", "not an IDX file"),
    "larger than the bound": (b"\0\0\x08\x02" + b"\xff" * 8, r"expected 1 to 4294967296 bytes"),
    "without elements": (b"\0\0\x08\x03" + b"\0" * 4 + b"\xff" * 8, "expected 1 to"),
    "truncated in the data": (VALID[:-1], r"is truncated \(got 39 bytes, expected 40 for shape \(2, 3, 4\) of uint8\)"),
    "too long": (VALID + b"\0", "has bytes after the array's end"),
    "truncated and compressed": (gzip.compress(VALID)[:-12], "damaged gzip file"),
    "damaged and compressed": (gzip.compress(VALID)[:14] + b"\xff" * 20, "damaged gzip file"),
    "compressed, with more than it announces": (
        gzip.compress(VALID + bytes(2**20)),
        "got 41 bytes or more, expected 40",
    ),
}


@pytest.mark.parametrize("name", INVALID)
def test_invalid_idx_files_raise(tmp_path, name):
    data, message = INVALID[name]
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(ValueError, match=rf"{tmp_path}.*{message}"):
        load_idx(tmp_path / "x")


IMAGES, LABELS = np.arange(3 * 4 * 4).reshape(3, 4, 4).astype(np.uint8), np.array([2, 0, 1], np.uint8)


def test_the_four_files_of_mnist_are_read(tmp_path):
    for part in ("train", "t10k"):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(IMAGES))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS)))
    data = idx_images(tmp_path)
    np.testing.assert_allclose(data.train.inputs[..., 0], IMAGES / np.float32(255), rtol=1e-6)
    np.testing.assert_array_equal(data.held_out.targets, LABELS)
    assert data.outputs == 3 and data.train.targets.dtype == np.int32
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="t10k-labels-idx1-ubyte does not exist; lopt downloads nothing"):
        idx_images(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(LABELS[:2]))
    with pytest.raises(ValueError, match=r"expected test images.*got shapes \(3, 4, 4\) and \(2,\)"):
        idx_images(tmp_path)


def test_npz_files_are_read_or_raise(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES[:1], y_test=LABELS[:1])
    assert load_npz(path).train.inputs.shape == (3, 4, 4, 1)
    with pytest.raises(ValueError, match=r"lacks a, b \(got x_train, y_train, x_test, y_test\)"):
        load_npz(path, ("a", "y_train", "b", "y_test"))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="not an npz file, or is damaged"):
        load_npz(path)
    with pytest.raises(ValueError, match="does not exist"):
        load_npz(tmp_path / "other.npz")


BAD_ARRAYS = {
    "no images": ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, "at least one"),
    "images without pixels": ({"x_train": IMAGES[:, :0]}, "at least one"),
    "NaN": ({"x_train": IMAGES * np.nan}, "train images must be finite"),
    "beyond float32": ({"x_test": IMAGES * 1e300}, "test images must be finite"),
    "complex": ({"x_train": IMAGES + 1j}, "train images must be real numbers.*complex128"),
    "dates": ({"x_train": IMAGES.astype("i8").astype("M8[s]")}, "must be real numbers.*datetime64"),
    "text": ({"x_train": IMAGES.astype("U3")}, "must be real numbers"),
    "records": ({"x_train": np.zeros((3, 4, 4), [("a", "f4")])}, "must be real numbers"),
    "objects": ({"x_train": np.array([object()])}, "is not an npz file, or is damaged"),
    "another size": ({"x_test": IMAGES[:, :2]}, "one dtype and example shape"),
    "labels that wrap around": ({"y_train": LABELS.astype("i8") + 2**32}, r"train labels must be in \[0, 1048576\)"),
    "labels of 64 bits": ({"y_test": np.full(3, 2**64 - 1, "u8")}, "test labels must be in.*18446744073709551615"),
    "labels below zero": ({"y_train": LABELS.astype("i8") - 5}, r"must be in.*got -5"),
    "real labels": ({"y_train": LABELS * 0.5}, "train labels must be integers"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_images_and_labels_raise(tmp_path, name):
    changed, message = BAD_ARRAYS[name]
    path = tmp_path / "set.npz"
    np.savez(path, **({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS} | changed))
    with pytest.raises(ValueError, match=rf"{path}.*{message}"):
        load_npz(path)


def test_an_archive_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    """Before it is decompressed: the size is that of its directory."""
    monkeypatch.setattr("lopt.tasks.supervised.data.MAX_BYTES", 2**20)
    path = tmp_path / "set.npz"
    np.savez_compressed(path, x_train=np.zeros((2**17, 4, 4), np.uint8), y_train=LABELS, x_test=IMAGES, y_test=LABELS)
    assert path.stat().st_size < 2**14
    with pytest.raises(ValueError, match="at most 1048576 are read"):
        load_npz(path)


def test_encoding_is_lossless_for_printable_ascii():
    codes = encode("def f():\n ~é\t")
    assert codes.tolist() == [*(ord(c) - 31 for c in "def f():"), 0, 1, 95, 96, 96]
    text = tasks.standard_library(5000)
    assert text.shape == (5000,) and 0 <= text.min() and text.max() < tasks.VOCABULARY
    decoded = "".join("\n" if c == 0 else chr(c + 31) for c in text)
    assert "import" in decoded
    with pytest.raises(ValueError, match="the source has"):
        tasks.standard_library(10**10)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Examples(np.zeros(3), np.zeros(2)), r"got shapes \(3,\) and \(2,\)"),
        (lambda: Examples(np.zeros(0), np.zeros(0)), "at least one"),
        (lambda: Dataset(*(Examples(np.zeros((2, n)), np.zeros(2)) for n in (3, 4)), 1), "inputs.*one dtype"),
        (lambda: Dataset(*[Examples(np.zeros(2), np.array([0, 3]))] * 2, 3), r"in \[0, 3\) \(got 0 to 3\)"),
        (lambda: split(np.zeros(2), np.zeros(2), 1, held_out=0.1), "leave examples in both sets"),
        (lambda: image_dataset(*[np.zeros((2, 3)), np.zeros(2, int)] * 2), "the arrays: expected train images"),
        (lambda: image_dataset(*[np.zeros((2, 3, 3)), np.zeros(2)] * 2), "labels must be integers.*float64"),
    ],
)
def test_invalid_arguments_raise(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_select_classes():
    data = tasks.iris().select_classes(2, 0)
    assert data.outputs == 2 and len(data.train) + len(data.held_out) == 100
    iris = tasks.iris().train
    np.testing.assert_array_equal(data.train.inputs, iris.inputs[iris.targets != 1])
    np.testing.assert_array_equal(data.train.targets, (iris.targets[iris.targets != 1] == 0).astype(np.int32))
    for classes in ((), (0, 0), (3,)):
        with pytest.raises(ValueError, match=r"distinct classes in \[0, 3\)"):
            tasks.iris().select_classes(*classes)
    with pytest.raises(ValueError, match="one class per example"):
        tasks.diabetes().select_classes(0)


def test_letters_are_distinct_and_separable():
    data = tasks.letters("AB")
    assert data is tasks.letters("AB") and data.outputs == 2
    assert data.train.inputs.shape[1:] == (8, 8, 1) and len(data.train) + len(data.held_out) == 120
    x = data.train.inputs
    assert x.min() == 0 and 0.5 < x.max() <= 1 and len(np.unique(x, axis=0)) == len(x)
    means = [x[data.train.targets == c].mean(0) for c in (0, 1)]
    nearest = np.stack([np.square(data.held_out.inputs - mean[None]).sum((1, 2, 3)) for mean in means]).argmin(0)
    assert (nearest == data.held_out.targets).mean() > 0.7
    hole = tasks.letters("O").train.inputs[..., 0].mean(0)
    assert hole[3:5, 3:5].mean() < 0.3 * hole.max()
    for alphabet in ("", "AA", "A "):
        with pytest.raises(ValueError, match="distinct visible characters"):
            tasks.letters(alphabet)
