"""Regularised evolution of programs by ask and tell, with an exchangeable proposer, and funnel selection."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lopt.search.dataflow import prune_loop
from lopt.search.evolution.individual import (
    FitnessCache,
    Individual,
    Proposer,
    individuals_from_json,
    individuals_to_json,
)
from lopt.search.program import Program

Fitness = Callable[[Sequence[Program]], np.ndarray]
"""`programs -> fitness [n]`; larger is better, minus infinity for a program that cannot be evaluated."""


@dataclass(frozen=True)
class SearchState:
    """The state of a search; `ask` and `tell` return new states and leave theirs as it is.

    Attributes:
        rng: state of the random generator, as numpy gives it.
        cache: fitness of programs evaluated before.
        population: the individuals, oldest first; empty before the first `tell`.
        records: the initial program and, in order, each individual with a higher fitness than all before it.
        proposed: number of proposed programs.
        evaluated: number of evaluated programs.
        restarts: number of restarts.
        last_progress: value of `evaluated` at the last record or restart.
    """

    rng: Mapping[str, Any]
    cache: FitnessCache
    population: tuple[Individual, ...] = ()
    records: tuple[Individual, ...] = ()
    proposed: int = 0
    evaluated: int = 0
    restarts: int = 0
    last_progress: int = 0

    @property
    def best(self) -> Individual:
        """The individual with the highest fitness so far, restarts included."""
        return self.records[-1]

    def to_json(self) -> dict[str, Any]:
        """The state as JSON data."""
        return {
            "rng": self.rng,
            "individuals": individuals_to_json([*self.records, *self.population]),
            "cache": self.cache.state_dict(),
            "counts": [len(self.records), self.proposed, self.evaluated, self.restarts, self.last_progress],
        }


@dataclass(frozen=True)
class Candidate:
    """A proposed program, its parent if it has one, and its key in the cache."""

    program: Program
    parent: Individual | None
    key: str


@dataclass(frozen=True)
class Batch:
    """Candidates of one `ask`; `programs` are the live parts of those whose fitness is unknown, in order."""

    candidates: tuple[Candidate, ...]
    programs: tuple[Program, ...]
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """Regularised (ageing) evolution by ask and tell: each child replaces the oldest individual of the population.

        state = search.init(seed)
        state, batch = search.ask(state)
        state, metrics = search.tell(state, batch, fitness(batch.programs))

    The first batch is the initial program, of which the population becomes `size` copies. Later ones hold programs
    that are proposed until `batch` of them have an unknown fitness, or until `max_batches` times `batch` are proposed.
    `tell` appends all candidates to the population in order, and removes as many of the oldest individuals. If the best
    fitness has not improved for `plateau` evaluated programs, the population is filled with copies of the initial
    program or, at every second restart, of the best program. `step` is one `ask` and `tell`.

    Attributes:
        propose: proposer of new programs; its choice makes this evolution or one of the baselines.
        initial: the initial program.
        cache: an empty cache, with its two hash functions.
        size: P, number of individuals.
        batch: number of programs evaluated together.
        max_batches: maximum number of programs proposed per step, in units of `batch`.
        plateau: number of evaluated programs without improvement before a restart; None for no restarts.

    Raises:
        ValueError: a size, batch, `max_batches` or plateau below one.

    Paper: arXiv 1802.01548 (regularised evolution); arXiv 2302.06675, P = 1000, restarts after 300,000 programs.
    Differs: the paper's workers propose and evaluate one program each, asynchronously; here a batch is evaluated.
    """

    propose: Proposer
    initial: Program
    cache: FitnessCache
    size: int = 1000
    batch: int = 128
    max_batches: int = 8
    plateau: int | None = None

    def __post_init__(self) -> None:
        sizes = {"size": self.size, "batch": self.batch, "max_batches": self.max_batches, "plateau": self.plateau or 1}
        for name, value in sizes.items():
            if value < 1:
                raise ValueError(f"Search: {name} must be at least 1 (got {value})")

    def init(self, seed: int | Sequence[int]) -> SearchState:
        """The state before the first program; `seed` is one of numpy's."""
        return SearchState(rng=np.random.default_rng(seed).bit_generator.state, cache=self.cache.copy())

    def ask(self, state: SearchState) -> tuple[SearchState, Batch]:
        """The next batch, and the state that `tell` takes."""
        rng, cache = _generator(state), state.cache.copy()
        candidates: list[Candidate] = []
        new: dict[str, Program] = {}
        most = self.max_batches * self.batch if state.population else 1
        while len(new) < self.batch and len(candidates) < most:
            program, parent = self.propose(rng, state.population) if state.population else (self.initial, None)
            key = cache.key(program)
            if key not in cache.fitness:
                new.setdefault(key, program)
            candidates.append(Candidate(program, parent, key))
        batch = Batch(tuple(candidates), tuple(map(prune_loop, new.values())), tuple(new))
        return replace(state, rng=rng.bit_generator.state, cache=cache), batch

    def tell(
        self, state: SearchState, batch: Batch, fitness: Sequence[float] | np.ndarray
    ) -> tuple[SearchState, dict[str, float]]:
        """The state after a batch, and metrics.

        Args:
            state: that `ask` returned with the batch.
            batch: the batch.
            fitness: of `batch.programs`; larger is better, minus infinity for one that cannot be evaluated.

        Returns:
            The state, and metrics. Since the beginning: the `best` fitness, the numbers `proposed`, `evaluated` and
            `restarts`, and the cache's `structural_hits` and `behavioural_hits` as fractions of all queries. Of the
            population: the `median` fitness and the fraction `frac_nonfinite` of non-finite fitness. Of the candidates:
            the fraction `frac_cached` whose fitness was known, the mean number of `statements`, and the fraction
            `redundant` of statements without effect.

        Raises:
            ValueError: another number of values than programs.
        """
        if len(fitness) != len(batch.programs):
            raise ValueError(f"Search.tell: expected {len(batch.programs)} values of fitness (got {len(fitness)})")
        cache, evaluated = state.cache.copy(), state.evaluated + len(batch.programs)
        cache.fitness.update(zip(batch.keys, map(float, fitness), strict=True))
        after = replace(state, cache=cache, evaluated=evaluated)
        after = self._with_candidates(after, batch) if state.population else self._initial_population(after, batch)
        if self.plateau is not None and evaluated - after.last_progress >= self.plateau:
            individual = self.restart_individual(after)
            after = replace(
                after, population=(individual,) * self.size, restarts=after.restarts + 1, last_progress=evaluated
            )
        return after, self._metrics(after, batch)

    def step(self, state: SearchState, fitness: Fitness) -> tuple[SearchState, dict[str, float]]:
        """One `ask` and `tell`, after those of the initial program if there is no population."""
        if not state.population:
            state, batch = self.ask(state)
            state, _ = self.tell(state, batch, fitness(batch.programs))
        state, batch = self.ask(state)
        return self.tell(state, batch, fitness(batch.programs) if batch.programs else ())

    def restart_individual(self, state: SearchState) -> Individual:
        """The individual that fills the population at the next restart: alternately the initial and the best one."""
        return state.best if state.restarts % 2 else state.records[0]

    def from_json(self, data: Mapping[str, Any]) -> SearchState:
        """The state that `SearchState.to_json` gave; the search then continues bit for bit."""
        individuals = tuple(individuals_from_json(data["individuals"]))
        num_records, proposed, evaluated, restarts, last_progress = data["counts"]
        cache = self.cache.copy()
        cache.load_state_dict(data["cache"])
        records, population = individuals[:num_records], individuals[num_records:]
        return SearchState(data["rng"], cache, population, records, proposed, evaluated, restarts, last_progress)

    def _initial_population(self, state: SearchState, batch: Batch) -> SearchState:
        (candidate,) = batch.candidates
        first = Individual(candidate.program, state.cache.fitness[candidate.key])
        return replace(state, records=(first,), population=(first,) * self.size)

    def _with_candidates(self, state: SearchState, batch: Batch) -> SearchState:
        records, last_progress, children = list(state.records), state.last_progress, []
        for i, one in enumerate(batch.candidates):
            fitness = state.cache.fitness[one.key]
            children.append(Individual(one.program, fitness, one.parent, state.proposed + i))
            if fitness > records[-1].fitness:
                records.append(children[-1])
                last_progress = state.evaluated
        return replace(
            state,
            population=(*state.population, *children)[-self.size :],
            records=tuple(records),
            proposed=state.proposed + len(children),
            last_progress=last_progress,
        )

    def _metrics(self, state: SearchState, batch: Batch) -> dict[str, float]:
        lengths = np.array([len(one.program.statements) for one in batch.candidates])
        live = np.array([len(prune_loop(one.program).statements) for one in batch.candidates])
        values = np.array([one.fitness for one in state.population])
        return {
            "best": state.best.fitness,
            "median": float(np.median(np.where(np.isfinite(values), values, -1e9))),
            "frac_nonfinite": float(np.mean(~np.isfinite(values))),
            "proposed": state.proposed,
            "evaluated": state.evaluated,
            **state.cache.hit_rates(),
            "frac_cached": 1 - len(batch.programs) / len(batch.candidates),
            "statements": float(lengths.mean()),
            "redundant": float(1 - live.sum() / max(lengths.sum(), 1)),
            "restarts": state.restarts,
        }


def _generator(state: SearchState) -> np.random.Generator:
    rng = np.random.default_rng()
    rng.bit_generator.state = dict(state.rng)
    return rng


@dataclass(frozen=True)
class Stage:
    """A stage of the funnel.

    Attributes:
        fitness: fitness on the stage's task.
        baseline: program whose fitness on this task must be exceeded.
        max_promoted: maximum number of programs that go on to the next stage; None for all that beat the baseline.
    """

    fitness: Fitness
    baseline: Program
    max_promoted: int | None = None


def funnel(programs: Sequence[Program], stages: Sequence[Stage]) -> list[dict[int, float]]:
    """Evaluate programs on successive stages; each stage promotes the best of those that beat its baseline.

    Returns:
        For each stage, the fitness of the programs that reached it, by their index in `programs`, best first.

    Paper: arXiv 2302.06675, section 2 (funnel selection).
    """
    remaining = list(range(len(programs)))
    results: list[dict[int, float]] = []
    for stage in stages:
        if not remaining:
            results.append({})
            continue
        *values, threshold = map(float, stage.fitness([*(programs[i] for i in remaining), stage.baseline]))
        ranking = sorted(zip(remaining, values, strict=True), key=lambda pair: -pair[1])
        results.append(dict(ranking))
        remaining = [i for i, value in ranking if value > threshold and np.isfinite(value)][: stage.max_promoted]
    return results
