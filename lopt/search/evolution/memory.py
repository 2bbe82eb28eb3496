"""What has been found out of programs, so that no program is tried twice."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from lopt.search.program import Program


@dataclass
class Memory:
    """Fitness by what a program does, and what it does by how it is written.

    A program that is not known by its structure is run for a few steps on a small problem; if another one has done the
    same there, its fitness is taken over.

    Attributes:
        structure: a program's name, the same for all that are written alike (`canonical_hash`).
        behaviour: a program's name, the same for all that do alike (`fingerprint`).
        known: from structure to behaviour.
        fitness: from behaviour to fitness.
        hits: questions that each of the two names answered, and those that neither did.

    Paper: arXiv 2302.06675, abstract execution (the first layer); arXiv 2003.03384 (the second).
    """

    structure: Callable[[Program], str]
    behaviour: Callable[[Program], str]
    known: dict[str, str] = field(default_factory=dict)
    fitness: dict[str, float] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=lambda: {"structure": 0, "behaviour": 0, "neither": 0})

    def name(self, program: Program) -> str:
        """What the program does; counts who knew its fitness already."""
        written = self.structure(program)
        layer = "structure"
        if written not in self.known:
            layer = "behaviour"
            self.known[written] = self.behaviour(program)
        name = self.known[written]
        self.hits[layer if name in self.fitness else "neither"] += 1
        return name

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        # programs that are lost have the fitness minus infinity, which JSON does not know
        fitness = {name: None if value == -float("inf") else value for name, value in self.fitness.items()}
        return {"known": self.known, "fitness": fitness, "hits": self.hits}

    def restore(self, data: dict[str, Any]) -> None:
        """Take over what `plain` gave."""
        self.known, self.hits = dict(data["known"]), dict(data["hits"])
        self.fitness = {name: -float("inf") if x is None else float(x) for name, x in data["fitness"].items()}
