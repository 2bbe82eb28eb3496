"""Sampling and mutation of the numeric constants of programs."""

import numpy as np

from lopt.search.program import Program

MAX_CONSTANT = 1e10
"""Bound on the absolute value of a mutated constant."""


def normal(rng: np.random.Generator) -> float:
    """A new constant drawn from N(0, 1), as in arXiv 2302.06675."""
    return rng.standard_normal()


def one(rng: np.random.Generator) -> float:
    """A new constant of 1, as in the published code (google/automl); `rng` is not used."""
    return 1.0


def rescale(rng: np.random.Generator, constant: float, spread: float = 1.0) -> float:
    """The constant multiplied by 2^a with a ~ N(0, spread^2), clipped to +-`MAX_CONSTANT`; the paper's spread is 1."""
    return min(max(constant * 2.0 ** (spread * rng.standard_normal()), -MAX_CONSTANT), MAX_CONSTANT)


def mutate_constant(rng: np.random.Generator, program: Program, spread: float = 1.0) -> Program:
    """The program with one constant, chosen uniformly, rescaled: the mutation of the hyper-parameter search baseline.

    Args:
        rng: source of randomness.
        program: the parent.
        spread: standard deviation of the exponent of 2, as in `rescale`.

    Raises:
        ValueError: a program without constants.
    """
    values = list(program.constants)
    if not values:
        raise ValueError("mutate_constant: the program has no constants")
    i = random_index(rng, len(values))
    values[i] = rescale(rng, values[i], spread)
    return program.with_constants(values)


def random_index(rng: np.random.Generator, n: int) -> int:
    """A uniform integer in [0, n); several times faster than `rng.integers`."""
    return int(rng.random() * n)
