"""A generated data set of letter images."""

import functools

import numpy as np

from lopt.tasks.dataset import Dataset, split

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
