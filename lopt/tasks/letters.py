"""Drawn letters: a data set of images that is made, not downloaded."""

import functools

import numpy as np

from lopt.tasks.dataset import Dataset, split

FINE, COARSE, VARIANTS = 32, 8, 60


@functools.cache
def letters(alphabet: str = "ABCDEFGHIJ") -> Dataset:
    """Letters of matplotlib's own font as 8 x 8 images `[8, 8, 1]` in [0, 1], 60 of each, turned, sheared and moved.

    Deviations: 0.15 radians, shear 0.15, scale 0.1, half a pixel. They are drawn on 32 x 32 points and averaged.

    Raises:
        ValueError: an alphabet with a sign twice, or with one that leaves no mark.
    """
    if len(set(alphabet)) < len(alphabet) or not alphabet.strip() == alphabet != "":
        raise ValueError(f"letters: expected different visible signs (got {alphabet!r})")
    rng = np.random.default_rng(0)
    images = [_draw(sign, rng) for sign in alphabet for _ in range(VARIANTS)]
    labels = np.repeat(np.arange(len(alphabet), dtype=np.int32), VARIANTS)
    return split(np.stack(images), labels, len(alphabet))


def _draw(sign: str, rng: np.random.Generator) -> np.ndarray:
    outlines, centre, size = _outlines(sign)
    turn, shear, scale = rng.normal(0, 0.15), rng.normal(0, 0.15), np.exp(rng.normal(0, 0.1))
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = scale * rotation @ np.array([[1, shear], [0, 1]])
    axis = (np.arange(FINE) + 0.5) / FINE * 2 - 1
    across, down = np.meshgrid(axis, -axis)
    points = np.stack([across.ravel(), down.ravel()], -1) - rng.normal(0, 0.5 * 2 / COARSE, 2)
    points = points @ np.linalg.inv(matrix).T * (size / 1.5) + centre
    # a point within an even number of outlines is in a hole
    inside = np.logical_xor.reduce([outline.contains_points(points) for outline in outlines])
    fine = inside.reshape(COARSE, FINE // COARSE, COARSE, FINE // COARSE)
    return fine.mean((1, 3), dtype=np.float32)[..., None]


@functools.cache
def _outlines(sign: str) -> tuple[list, np.ndarray, float]:
    """Closed paths, their centre, and the larger of their width and height."""
    from matplotlib.path import Path
    from matplotlib.textpath import TextPath

    path = TextPath((0, 0), sign, size=1)
    low, high = path.vertices.min(0), path.vertices.max(0)
    return [Path(corners) for corners in path.to_polygons()], (low + high) / 2, (high - low).max()
