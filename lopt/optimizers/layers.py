"""Positions of layers in a network, an input of learned optimizers."""

import re
from typing import Any

import jax

from lopt.types import Params, PyTree


def layer_positions(params: Params) -> PyTree:
    """The position of each tensor's layer in its network, a tree of numbers from 0 (first layer) to 1 (last layer).

    The position is i / (L - 1) for layer i of L, and 0 if there is one layer. A layer is a dictionary of arrays, such
    as the kernel and the bias of a dense layer, which have the same position. An array beside dictionaries, such as
    `log_std` of `lopt.nets.GaussianPolicy`, is a layer of its own. Layers are in the order of their names, with numbers
    as numbers: Dense_2 comes before Dense_10, and names in capitals before others. That is the order of computation of
    `lopt.nets.MLP` and `Conv`; for other networks give the positions yourself.

    Args:
        params: parameters of one network. Two networks are numbered apart: call this for each of them.

    Example:
        layer_positions(params)  # {"Dense_0": {"bias": 0.0, "kernel": 0.0}, "Dense_1": {"bias": 1.0, "kernel": 1.0}}

    Paper: arXiv 2407.07082, "layer proportion" (values: the code of AlexGoldie/rl-learned-optimization).
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    beyond = {path[:depth] for path in paths for depth in range(len(path) - 1)}
    layers = [path if path[:-1] in beyond else path[:-1] for path in paths]
    index = {layer: i for i, layer in enumerate(sorted(set(layers), key=_in_order))}
    positions = [index[layer] / max(len(index) - 1, 1) for layer in layers]
    return jax.tree.unflatten(jax.tree.structure(params), positions)


def _in_order(path: tuple[Any, ...]) -> list[list[tuple[int, Any]]]:
    """A sort key of a path, which compares runs of digits as numbers."""
    return [
        [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", str(entry))]
        for entry in path
    ]
