"""Constants of programs: new ones, and the rescaling of old ones."""

import numpy as np

from lopt.search.program import Program

LARGEST = 1e10
"""Constants stay within plus and minus this."""


def normal(rng: np.random.Generator) -> float:
    """A constant from N(0, 1), as in the paper."""
    return rng.standard_normal()


def one(rng: np.random.Generator) -> float:
    """The constant 1, as in the published code."""
    return 1.0


def rescale(rng: np.random.Generator, constant: float, spread: float = 1.0) -> float:
    """The constant times 2^a, a from N(0, spread^2); the paper's spread is one."""
    return min(max(constant * 2.0 ** (spread * rng.standard_normal()), -LARGEST), LARGEST)


def tune(rng: np.random.Generator, program: Program, spread: float = 1.0) -> Program:
    """The program with one of its constants rescaled: mutation of hyper-parameters alone, the search's baseline.

    Args:
        rng: all chance.
        program: what is changed.
        spread: as in `rescale`.

    Raises:
        ValueError: a program without constants.
    """
    values = list(program.constants)
    if not values:
        raise ValueError("tune: the program has no constants")
    i = below(rng, len(values))
    values[i] = rescale(rng, values[i], spread)
    return program.with_constants(values)


def below(rng: np.random.Generator, n: int) -> int:
    """A whole number in [0, n), several times quicker than `rng.integers`."""
    return int(rng.random() * n)
