"""Where new programs come from: selection and mutation, or chance alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lopt.search.evolution.individual import Individual
from lopt.search.program import Program

Proposer = Callable[[np.random.Generator, Sequence[Individual]], tuple[Program, Individual | None]]
"""From the population, oldest first, to a program and whose child it is."""


@dataclass(frozen=True)
class Tournament:
    """A `Proposer`: of `size` individuals, drawn uniformly, the fittest has a child; the later one if they are equal.

    Attributes:
        mutate: from a program to a changed one; `Mutation()`, or `tune` for a search of constants alone.
        size: T.

    Raises:
        ValueError: a `size` below one.

    Paper: arXiv 1802.01548; arXiv 2302.06675 has T = 2.
    """

    mutate: Callable[[np.random.Generator, Program], Program]
    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Tournament: size must be at least 1 (got {self.size})")

    def __call__(self, rng: np.random.Generator, population: Sequence[Individual]) -> tuple[Program, Individual | None]:
        """A child."""
        drawn = sorted(int(rng.random() * len(population)) for _ in range(self.size))
        parent = max((population[i] for i in reversed(drawn)), key=lambda one: one.fitness)
        return self.mutate(rng, parent.program), parent


@dataclass(frozen=True)
class Chance:
    """A `Proposer` that learns nothing: programs of random length, each on its own.

    Attributes:
        draw: a random program of so many statements (`random_program`).
        shortest: fewest statements.
        longest: most statements.

    Raises:
        ValueError: not 1 <= shortest <= longest.
    """

    draw: Callable[[np.random.Generator, int], Program]
    shortest: int = 2
    longest: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(f"Chance: expected 1 <= shortest <= longest (got {self.shortest} and {self.longest})")

    def __call__(self, rng: np.random.Generator, population: Sequence[Individual]) -> tuple[Program, Individual | None]:
        """A newcomer."""
        return self.draw(rng, int(rng.integers(self.shortest, self.longest + 1))), None
