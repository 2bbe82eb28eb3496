"""Proposers of new programs: tournament selection with mutation, and random programs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lopt.search.evolution.individual import Individual
from lopt.search.program import Program

Proposer = Callable[[np.random.Generator, Sequence[Individual]], tuple[Program, Individual | None]]
"""`(rng, population) -> (program, parent)`, given the population with the oldest individual first."""


@dataclass(frozen=True)
class Tournament:
    """A `Proposer` by tournament selection: it mutates the fittest of `size` individuals drawn with replacement.

    Of equally fit individuals, the youngest is selected.

    Attributes:
        mutate: `(rng, program) -> program`: `Mutation()`, or `mutate_constant` for a search over constants only.
        size: tournament size T.

    Raises:
        ValueError: a `size` below one.

    Paper: arXiv 1802.01548; T = 2 in arXiv 2302.06675.
    """

    mutate: Callable[[np.random.Generator, Program], Program]
    size: int = 2

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Tournament: size must be at least 1 (got {self.size})")

    def __call__(self, rng: np.random.Generator, population: Sequence[Individual]) -> tuple[Program, Individual | None]:
        """A mutated copy of the winner's program, and the winner."""
        entrants = sorted(int(rng.random() * len(population)) for _ in range(self.size))
        parent = max((population[i] for i in reversed(entrants)), key=lambda one: one.fitness)
        return self.mutate(rng, parent.program), parent


@dataclass(frozen=True, kw_only=True)
class RandomSearch:
    """A `Proposer` of independent random programs with a uniform number of statements: the random search baseline.

    Attributes:
        draw: `(rng, length) -> program`, a random program of `length` statements, such as `random_program`.
        shortest: minimum number of statements.
        longest: maximum number of statements.

    Raises:
        ValueError: unless 1 <= shortest <= longest.

    Paper: arXiv 2302.06675 (random search baseline).
    """

    draw: Callable[[np.random.Generator, int], Program]
    shortest: int = 2
    longest: int = 12

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest:
            raise ValueError(
                f"RandomSearch: expected 1 <= shortest <= longest (got {self.shortest} and {self.longest})"
            )

    def __call__(self, rng: np.random.Generator, population: Sequence[Individual]) -> tuple[Program, Individual | None]:
        """A random program without a parent."""
        return self.draw(rng, int(rng.integers(self.shortest, self.longest + 1))), None
