"""Selection of the formula: refinement of the searches' programs and the Pareto front of cost and length."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.search.distil.build import Target
from experiments.search.distil.config import DistilConfig
from lopt.search import Program, canonical_hash, pattern_search, prune_loop, round_constants, shrink, simplify
from lopt.search.evolution import SearchState

SHRINK_TOLERANCES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Tolerances with which the best program is shrunk to add shorter ones to the front, in units of `choice.tolerance`."""
ROUNDING = 0.05
"""Fitness that rounding may cost, in units of `choice.tolerance`."""

Fitness = Callable[[Program], float]


@dataclass(frozen=True)
class Candidate:
    """A program with its cost: error and violation, in shares of the target's variance."""

    program: Program
    cost: float

    @property
    def statements(self) -> int:
        """Number of statements."""
        return len(self.program.statements)


@dataclass(frozen=True)
class Choice:
    """Result of the selection.

    Attributes:
        front: Pareto front of cost and number of statements, shortest program first.
        chosen: the formula, a program of the front.
    """

    front: list[Candidate]
    chosen: Candidate


def choose(config: DistilConfig, target: Target, searches: Sequence[SearchState]) -> Choice:
    """The Pareto front of all searches, and its shortest program with a cost within the tolerance of the lowest."""
    fitness, sizes = target.fitness(0.0), config.choice

    def refined(program: Program) -> Program:
        program = pattern_search(simplify(target.without_time(program)), fitness, sizes.sweeps)
        return round_constants(program, fitness, ROUNDING * sizes.tolerance)

    programs = [one.program for search in searches for one in (*search.records, *search.population)]
    candidates = front(target, fitness, map(refined, fittest(map(prune_loop, programs), fitness)))
    best = candidates[-1].program
    shorter = [refined(shrink(best, fitness, tolerance * sizes.tolerance)) for tolerance in SHRINK_TOLERANCES]
    candidates = front(target, fitness, [*(one.program for one in candidates), *shorter])
    lowest = min(one.cost for one in candidates)
    return Choice(candidates, next(one for one in candidates if one.cost <= lowest + sizes.tolerance))


def fittest(programs: Iterable[Program], fitness: Fitness) -> list[Program]:
    """The fittest program of each length."""
    best: dict[int, tuple[float, Program]] = {}
    for program in {canonical_hash(program): program for program in programs}.values():
        value, length = fitness(program), len(program.statements)
        if length not in best or value > best[length][0]:
            best[length] = (value, program)
    return [program for _, program in best.values()]


def front(target: Target, fitness: Fitness, programs: Iterable[Program]) -> list[Candidate]:
    """The Pareto front of the usable programs: those with a lower cost than all shorter ones, shortest first.

    Raises:
        ValueError: no usable program.
    """
    candidates = [Candidate(program, -fitness(program)) for program in programs if target.usable(program)]
    pareto: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.statements, one.cost)):
        if one.cost < (pareto[-1].cost if pareto else float("inf")):
            pareto.append(one)
    if not pareto:
        raise ValueError(f"distil: no program is a usable {target.kind}; increase search.steps or search.restarts")
    return pareto
