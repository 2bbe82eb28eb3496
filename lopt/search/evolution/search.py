"""Regularised evolution of programs, with an exchangeable proposer."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lopt.search.evolution.fitness_cache import FitnessCache
from lopt.search.evolution.individual import Individual, individuals_from_json, individuals_to_json
from lopt.search.evolution.propose import Proposer
from lopt.search.liveness import prune_loop
from lopt.search.program import Program

Fitness = Callable[[Sequence[Program]], np.ndarray]
"""`programs -> fitness [n]`; larger is better, minus infinity for a program that cannot be evaluated."""


@dataclass
class Search:
    """Regularised (ageing) evolution: each child replaces the oldest individual of the population.

    The initial population is `size` copies of the initial program. A step proposes programs until `batch` of them have
    an unknown fitness, or until `max_batches` times `batch` programs are proposed. It evaluates those with unknown
    fitness, appends all proposed programs to the population in order, and removes as many of the oldest individuals.
    If the best fitness has not improved for `plateau` evaluated programs, the population is filled with copies of the
    initial program or, at every second restart, of the best program.

    Attributes:
        propose: proposer of new programs; its choice makes this evolution or one of the baselines.
        initial: the initial program.
        cache: fitness of programs evaluated before.
        rng: source of randomness.
        size: P, number of individuals.
        batch: number of programs evaluated together.
        max_batches: maximum number of programs proposed per step, in units of `batch`.
        plateau: number of evaluated programs without improvement before a restart; None for no restarts.
        population: the individuals, oldest first.
        records: the initial program and, in order, each individual with a higher fitness than all before it.
        proposed: number of proposed programs.
        evaluated: number of evaluated programs.
        restarts: number of restarts.
        last_progress: value of `evaluated` at the last record or restart.

    Raises:
        ValueError: a size, batch, `max_batches` or plateau below one.

    Paper: arXiv 1802.01548 (regularised evolution); arXiv 2302.06675, P = 1000, restarts after 300,000 programs.
    Differs: the paper's workers propose and evaluate one program each, asynchronously; here a batch is evaluated.
    """

    propose: Proposer
    initial: Program
    cache: FitnessCache
    rng: np.random.Generator
    size: int = 1000
    batch: int = 128
    max_batches: int = 8
    plateau: int | None = None
    population: deque[Individual] = field(default_factory=deque)
    records: list[Individual] = field(default_factory=list)
    proposed: int = 0
    evaluated: int = 0
    restarts: int = 0
    last_progress: int = 0

    def __post_init__(self) -> None:
        sizes = {"size": self.size, "batch": self.batch, "max_batches": self.max_batches, "plateau": self.plateau or 1}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"Search: {name} must be at least 1 (got {value})")

    def step(self, fitness: Fitness) -> dict[str, float]:
        """Make one step of the search.

        Args:
            fitness: evaluates the live parts of the programs with unknown fitness.

        Returns:
            Metrics. Since the beginning: the `best` fitness, the numbers `proposed`, `evaluated` and `restarts`, and
            the cache's `structural_hits` and `behavioural_hits` as fractions of all queries. Of the population: the
            `median` fitness and the fraction `frac_nonfinite` of non-finite fitness. Of the programs proposed in this
            step: the fraction `frac_cached` whose fitness was known, the mean number of `statements`, and the fraction
            `redundant` of statements without effect.
        """
        if not self.population:
            self._init_population(fitness)
        children = self._propose_children(self.batch)
        new = {key: program for program, _, key in children if key not in self.cache.fitness}
        self._evaluate(new, fitness)
        for program, parent, key in children:
            self._append(Individual(program, self.cache.fitness[key], parent, self.proposed))
            self.proposed += 1
        if self.plateau is not None and self.evaluated - self.last_progress >= self.plateau:
            self._restart()
        return self._metrics([program for program, _, _ in children], len(new))

    @property
    def best(self) -> Individual:
        """The individual with the highest fitness so far, restarts included."""
        return self.records[-1]

    def _init_population(self, fitness: Fitness) -> None:
        key = self.cache.key(self.initial)
        self._evaluate({key: self.initial}, fitness)
        self.records.append(Individual(self.initial, self.cache.fitness[key]))
        self.population.extend(self.records * self.size)

    def _propose_children(self, batch: int) -> list[tuple[Program, Individual | None, str]]:
        """Proposed programs with their parents and cache keys, in order."""
        parents = tuple(self.population)
        children: list[tuple[Program, Individual | None, str]] = []
        new: set[str] = set()
        while len(new) < batch and len(children) < self.max_batches * batch:
            program, parent = self.propose(self.rng, parents)
            key = self.cache.key(program)
            if key not in self.cache.fitness:
                new.add(key)
            children.append((program, parent, key))
        return children

    def _evaluate(self, new: dict[str, Program], fitness: Fitness) -> None:
        if new:
            values = fitness([prune_loop(program) for program in new.values()])
            self.cache.fitness.update(zip(new, map(float, values), strict=True))
            self.evaluated += len(new)

    def _append(self, child: Individual) -> None:
        self.population.append(child)
        if len(self.population) > self.size:
            self.population.popleft()
        if child.fitness > self.best.fitness:
            self.records.append(child)
            self.last_progress = self.evaluated

    def _restart(self) -> None:
        self.population = deque([self.restart_individual()] * self.size)
        self.restarts, self.last_progress = self.restarts + 1, self.evaluated

    def restart_individual(self) -> Individual:
        """The individual that fills the population at the next restart: alternately the initial and the best one."""
        return self.best if self.restarts % 2 else self.records[0]

    def _metrics(self, programs: Sequence[Program], num_new: int) -> dict[str, float]:
        """Metrics of a step that proposed `programs`, `num_new` of them with unknown fitness; see `step`."""
        lengths = np.array([len(program.statements) for program in programs])
        live = np.array([len(prune_loop(program).statements) for program in programs])
        values = np.array([one.fitness for one in self.population])
        return {
            "best": self.best.fitness,
            "median": float(np.median(np.where(np.isfinite(values), values, -1e9))),
            "frac_nonfinite": float(np.mean(~np.isfinite(values))),
            "proposed": self.proposed,
            "evaluated": self.evaluated,
            **self.cache.hit_rates(),
            "frac_cached": 1 - num_new / len(programs),
            "statements": float(lengths.mean()),
            "redundant": float(1 - live.sum() / max(lengths.sum(), 1)),
            "restarts": self.restarts,
        }

    def state_dict(self) -> dict[str, Any]:
        """The state of the search as JSON data: generator, population, records, cache and counts."""
        return {
            "rng": self.rng.bit_generator.state,
            "individuals": individuals_to_json([*self.records, *self.population]),
            "cache": self.cache.state_dict(),
            "counts": [len(self.records), self.proposed, self.evaluated, self.restarts, self.last_progress],
        }

    def load_state_dict(self, data: dict[str, Any]) -> None:
        """Restore the state from the data of `state_dict`; the search then continues bit for bit."""
        self.rng.bit_generator.state = data["rng"]
        individuals, num_records = individuals_from_json(data["individuals"]), data["counts"][0]
        self.records, self.population = individuals[:num_records], deque(individuals[num_records:])
        self.cache.load_state_dict(data["cache"])
        _, self.proposed, self.evaluated, self.restarts, self.last_progress = data["counts"]
