"""Individuals of a population, the cache of their fitness, and proposers of new programs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lopt.search.parse import parse
from lopt.search.program import Program


@dataclass(frozen=True, eq=False)
class Individual:
    """An evaluated program.

    Attributes:
        program: the program, dead statements included.
        fitness: larger is better; minus infinity if it cannot be evaluated.
        parent: the individual that was mutated; None for initial and random programs.
        index: number of programs that the search had proposed before this one.
    """

    program: Program
    fitness: float
    parent: "Individual | None" = None
    index: int = 0

    def lineage(self) -> list["Individual"]:
        """The chain of ancestors, from the first one to this individual."""
        chain = [self]
        while (parent := chain[-1].parent) is not None:
            chain.append(parent)
        return chain[::-1]


def individuals_to_json(individuals: Sequence[Individual]) -> dict[str, Any]:
    """Individuals and all their ancestors as JSON data, each stored once."""
    position: dict[int, int] = {}
    records: list[list[Any]] = []
    for one in _ancestors_first(individuals):
        position[id(one)] = len(records)
        parent = None if one.parent is None else position[id(one.parent)]
        fitness = None if one.fitness == -float("inf") else one.fitness
        records.append([one.program.text(), fitness, parent, one.index])
    return {"records": records, "members": [position[id(one)] for one in individuals]}


def individuals_from_json(data: dict[str, Any]) -> list[Individual]:
    """The inverse of `individuals_to_json`; shared ancestors are shared again."""
    restored: list[Individual] = []
    programs: dict[str, Program] = {}
    for text, fitness, parent, index in data["records"]:
        if text not in programs:
            programs[text] = parse(text)
        fitness = -float("inf") if fitness is None else float(fitness)
        restored.append(Individual(programs[text], fitness, None if parent is None else restored[parent], int(index)))
    return [restored[i] for i in data["members"]]


def _ancestors_first(individuals: Iterable[Individual]) -> Iterator[Individual]:
    visited: set[int] = set()
    for individual in individuals:
        chain: list[Individual] = []
        one: Individual | None = individual
        while one is not None and id(one) not in visited:
            visited.add(id(one))
            chain.append(one)
            one = one.parent
        yield from reversed(chain)


@dataclass
class FitnessCache:
    """Fitness by behavioural hash, and behavioural hashes by structural hash.

    A program with an unknown structure is executed for a few steps on a small problem (its behavioural hash); if a
    program with the same behaviour has been evaluated, its fitness is used.

    Attributes:
        structural_hash: hash that is equal for programs of equal structure (`canonical_hash`).
        behavioural_hash: hash that is equal for programs with equal updates (`fingerprint`).
        behaviours: behavioural hash by structural hash.
        fitness: fitness by behavioural hash.
        counts: number of queries answered by structure ("structural_hits"), of those with a new structure answered by
            behaviour ("behavioural_hits"), and of those whose fitness was unknown ("misses").

    Paper: arXiv 2302.06675 (abstract execution; structural hash); arXiv 2003.03384 (behavioural hash).
    """

    structural_hash: Callable[[Program], str]
    behavioural_hash: Callable[[Program], str]
    behaviours: dict[str, str] = field(default_factory=dict)
    fitness: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: {"structural_hits": 0, "behavioural_hits": 0, "misses": 0})

    def copy(self) -> "FitnessCache":
        """A cache with the same content, which changes independently."""
        return FitnessCache(
            self.structural_hash, self.behavioural_hash, dict(self.behaviours), dict(self.fitness), dict(self.counts)
        )

    def key(self, program: Program) -> str:
        """The program's key in `fitness`, its behavioural hash; counts the query."""
        structure = self.structural_hash(program)
        outcome = "structural_hits"
        if structure not in self.behaviours:
            outcome = "behavioural_hits"
            self.behaviours[structure] = self.behavioural_hash(program)
        key = self.behaviours[structure]
        self.counts[outcome if key in self.fitness else "misses"] += 1
        return key

    def hit_rates(self) -> dict[str, float]:
        """`structural_hits` and `behavioural_hits` as fractions of all queries so far; zero before the first query."""
        total = max(sum(self.counts.values()), 1)
        return {name: self.counts[name] / total for name in ("structural_hits", "behavioural_hits")}

    def state_dict(self) -> dict[str, Any]:
        """The content of the cache as JSON data."""
        # the fitness of diverged programs is minus infinity, which JSON cannot represent
        fitness = {key: None if value == -float("inf") else value for key, value in self.fitness.items()}
        return {"behaviours": self.behaviours, "fitness": fitness, "counts": self.counts}

    def load_state_dict(self, data: dict[str, Any]) -> None:
        """Restore the content from the data of `state_dict`."""
        self.behaviours, self.counts = dict(data["behaviours"]), dict(data["counts"])
        self.fitness = {key: -float("inf") if x is None else float(x) for key, x in data["fitness"].items()}


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
