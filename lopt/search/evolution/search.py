"""Ageing evolution of programs, and the same loop around other ways to propose them."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lopt.search.evolution.individual import Individual, from_plain, to_plain
from lopt.search.evolution.memory import Memory
from lopt.search.evolution.propose import Proposer
from lopt.search.liveness import prune_loop
from lopt.search.program import Program

Fitness = Callable[[Sequence[Program]], np.ndarray]
"""From programs to what they are worth; larger is better, minus infinity for what cannot be used."""


@dataclass
class Search:
    """A population in which the oldest die, whatever they are worth.

    A cycle proposes programs until `batch` of them have to be tried, or until `most` batches were proposed and still
    fewer could be because their fitness was known; tries these, appends all children in order, and drops as many of the
    oldest. It begins with copies of the initial program. Where the best fitness has not risen for `plateau` tried
    programs, the population is filled anew: with the initial program, and the next time with the best one so far.

    Attributes:
        propose: where children come from.
        initial: the program to begin with.
        memory: what is known of programs.
        rng: all chance.
        size: P, individuals.
        batch: programs tried together.
        most: proposals of a cycle are at most this many batches.
        plateau: tried programs without progress before a restart; None for no restarts.
        population: oldest first.
        records: the initial program, and whoever was better than all before.
        proposed, tried, restarts: what has been done.
        since: programs that had been tried when the last record was set, or at the last restart.

    Raises:
        ValueError: sizes below one.

    Paper: arXiv 1802.01548 (regularised evolution); arXiv 2302.06675, P = 1000, restarts after 300,000 programs.
    Differs: there many workers propose and try one program each at a time; here a batch at a time.
    """

    propose: Proposer
    initial: Program
    memory: Memory
    rng: np.random.Generator
    size: int = 1000
    batch: int = 128
    most: int = 8
    plateau: int | None = None
    population: deque[Individual] = field(default_factory=deque)
    records: list[Individual] = field(default_factory=list)
    proposed: int = 0
    tried: int = 0
    restarts: int = 0
    since: int = 0

    def __post_init__(self) -> None:
        sizes = {"size": self.size, "batch": self.batch, "most": self.most, "plateau": self.plateau or 1}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"Search: {name} must be at least 1 (got {value})")

    def cycle(self, fitness: Fitness) -> dict[str, float]:
        """One cycle; metrics of its children."""
        if not self.population:
            self._begin(fitness)
        children = self._children(self.batch)
        new = {name: program for program, _, name in children if name not in self.memory.fitness}
        self._try(new, fitness)
        for program, parent, name in children:
            self._append(Individual(program, self.memory.fitness[name], parent, self.proposed))
            self.proposed += 1
        if self.plateau is not None and self.tried - self.since >= self.plateau:
            self._restart()
        return self._metrics([program for program, _, _ in children], len(new))

    @property
    def best(self) -> Individual:
        """The best so far."""
        return self.records[-1]

    def _begin(self, fitness: Fitness) -> None:
        name = self.memory.name(self.initial)
        self._try({name: self.initial}, fitness)
        self.records.append(Individual(self.initial, self.memory.fitness[name]))
        self.population.extend(self.records * self.size)

    def _children(self, batch: int) -> list[tuple[Program, Individual | None, str]]:
        """Programs with parent and name, in the order in which they were proposed."""
        parents = tuple(self.population)
        children: list[tuple[Program, Individual | None, str]] = []
        new: set[str] = set()
        while len(new) < batch and len(children) < self.most * batch:
            program, parent = self.propose(self.rng, parents)
            name = self.memory.name(program)
            if name not in self.memory.fitness:
                new.add(name)
            children.append((program, parent, name))
        return children

    def _try(self, new: dict[str, Program], fitness: Fitness) -> None:
        if new:
            values = fitness([prune_loop(program) for program in new.values()])
            self.memory.fitness.update(zip(new, map(float, values), strict=True))
            self.tried += len(new)

    def _append(self, child: Individual) -> None:
        self.population.append(child)
        if len(self.population) > self.size:
            self.population.popleft()
        if child.fitness > self.best.fitness:
            self.records.append(child)
            self.since = self.tried

    def _restart(self) -> None:
        first = self.population_of_restart()
        self.population = deque([first] * self.size)
        self.restarts, self.since = self.restarts + 1, self.tried

    def population_of_restart(self) -> Individual:
        """Who fills the population at the next restart: the initial program, then the best one, and so on in turn."""
        return self.best if self.restarts % 2 else self.records[0]

    def _metrics(self, programs: Sequence[Program], tried: int) -> dict[str, float]:
        """Of one cycle's children, and the best so far."""
        lengths = np.array([len(program.statements) for program in programs])
        live = np.array([len(prune_loop(program).statements) for program in programs])
        asked = max(sum(self.memory.hits.values()), 1)
        values = np.array([one.fitness for one in self.population])
        return {
            "best": self.best.fitness,
            "median": float(np.median(np.where(np.isfinite(values), values, -1e9))),
            "lost": float(np.mean(~np.isfinite(values))),
            "proposed": self.proposed,
            "tried": self.tried,
            "structure_hits": self.memory.hits["structure"] / asked,
            "behaviour_hits": self.memory.hits["behaviour"] / asked,
            "known_now": 1 - tried / len(programs),
            "statements": float(lengths.mean()),
            "redundant": float(1 - live.sum() / max(lengths.sum(), 1)),
            "restarts": self.restarts,
        }

    def plain(self) -> dict[str, Any]:
        """Everything that changes, as JSON data."""
        return {
            "rng": self.rng.bit_generator.state,
            "individuals": to_plain([*self.records, *self.population]),
            "memory": self.memory.plain(),
            "counts": [len(self.records), self.proposed, self.tried, self.restarts, self.since],
        }

    def restore(self, data: dict[str, Any]) -> None:
        """Go on where `plain` was called; the search then repeats bit for bit."""
        self.rng.bit_generator.state = data["rng"]
        individuals, number = from_plain(data["individuals"]), data["counts"][0]
        self.records, self.population = individuals[:number], deque(individuals[number:])
        self.memory.restore(data["memory"])
        _, self.proposed, self.tried, self.restarts, self.since = data["counts"]
