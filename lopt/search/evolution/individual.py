"""Programs with their fitness and their descent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lopt.search.program import Program, parse


@dataclass(frozen=True, eq=False)
class Individual:
    """A program, what it is worth, whose child it is, and how many programs had been proposed before it."""

    program: Program
    fitness: float
    parent: "Individual | None" = None
    born: int = 0

    def lineage(self) -> list["Individual"]:
        """From the first ancestor to this one."""
        chain = [self]
        while (parent := chain[-1].parent) is not None:
            chain.append(parent)
        return chain[::-1]


def to_plain(individuals: Sequence[Individual]) -> dict[str, Any]:
    """Individuals and all their ancestors as JSON data, each of them once."""
    place: dict[int, int] = {}
    records: list[list[Any]] = []
    for one in _ancestors_first(individuals):
        place[id(one)] = len(records)
        parent = None if one.parent is None else place[id(one.parent)]
        fitness = None if one.fitness == -float("inf") else one.fitness
        records.append([one.program.text(), fitness, parent, one.born])
    return {"records": records, "members": [place[id(one)] for one in individuals]}


def from_plain(data: dict[str, Any]) -> list[Individual]:
    """The individuals that `to_plain` was given."""
    known: list[Individual] = []
    programs: dict[str, Program] = {}
    for text, fitness, parent, born in data["records"]:
        if text not in programs:
            programs[text] = parse(text)
        fitness = -float("inf") if fitness is None else float(fitness)
        known.append(Individual(programs[text], fitness, None if parent is None else known[parent], int(born)))
    return [known[i] for i in data["members"]]


def _ancestors_first(individuals: Iterable[Individual]) -> Iterator[Individual]:
    seen: set[int] = set()
    for last in individuals:
        new: list[Individual] = []
        one: Individual | None = last
        while one is not None and id(one) not in seen:
            seen.add(id(one))
            new.append(one)
            one = one.parent
        yield from reversed(new)
