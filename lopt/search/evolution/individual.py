"""Individuals of the population: programs with their fitness and ancestry."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lopt.search.program import Program, parse


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
