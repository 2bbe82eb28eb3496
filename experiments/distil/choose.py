"""From what the searches found to one formula: polished, shortened, and picked along the front of error and length."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from experiments.distil.build import Subject
from experiments.distil.config import DistilConfig
from lopt.search import Program, canonical_hash, polish, prune_loop, shrink, simplify
from lopt.search.evolution import Search

SHARES = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Of the tolerance: what the best program may lose by being shortened, for the front's sake."""
DIGITS = (1, 2, 3, 4, 6)
"""Significant digits that a program's constants may do with."""
ROUNDING = 0.05
"""Share of the tolerance that rounding may cost."""

Goal = Callable[[Program], float]


@dataclass(frozen=True)
class Candidate:
    """A program, and its cost: error and violation, in shares of the target's variance."""

    program: Program
    cost: float

    @property
    def statements(self) -> int:
        """How long it is."""
        return len(self.program.statements)


@dataclass(frozen=True)
class Choice:
    """What was found.

    Attributes:
        front: programs to which no shorter one is equal, shortest first.
        chosen: the one that is written down.
    """

    front: list[Candidate]
    chosen: Candidate


def choose(config: DistilConfig, subject: Subject, searches: Sequence[Search]) -> Choice:
    """The front of what all searches found, and the shortest program of it within the tolerance."""
    goal, sizes = subject.goal(0.0), config.choice

    def finished(program: Program) -> Program:
        program = polish(simplify(subject.settled(program)), goal, sizes.sweeps)
        return rounded(program, goal, ROUNDING * sizes.tolerance)

    found = [one.program for search in searches for one in (*search.records, *search.population)]
    candidates = front(subject, goal, map(finished, fittest(map(prune_loop, found), goal)))
    best = candidates[-1].program
    shorter = [finished(shrink(best, goal, share * sizes.tolerance)) for share in SHARES]
    candidates = front(subject, goal, [*(one.program for one in candidates), *shorter])
    least = min(one.cost for one in candidates)
    return Choice(candidates, next(one for one in candidates if one.cost <= least + sizes.tolerance))


def fittest(programs: Iterable[Program], goal: Goal) -> list[Program]:
    """The best of every length."""
    best: dict[int, tuple[float, Program]] = {}
    for program in {canonical_hash(program): program for program in programs}.values():
        value, length = goal(program), len(program.statements)
        if length not in best or value > best[length][0]:
            best[length] = (value, program)
    return [program for _, program in best.values()]


def front(subject: Subject, goal: Goal, programs: Iterable[Program]) -> list[Candidate]:
    """Those that are better than all shorter ones, shortest first.

    Raises:
        ValueError: nothing can be used.
    """
    candidates = [Candidate(program, -goal(program)) for program in programs if subject.usable(program)]
    kept: list[Candidate] = []
    for one in sorted(candidates, key=lambda one: (one.statements, one.cost)):
        if one.cost < (kept[-1].cost if kept else float("inf")):
            kept.append(one)
    if not kept:
        raise ValueError(f"distil: none of the programs can stand in for the {subject.noun}; search longer")
    return kept


def rounded(program: Program, goal: Goal, allowed: float) -> Program:
    """The program with constants of as few digits as its fitness allows."""
    least = goal(program) - allowed
    for digits in DIGITS:
        candidate = program.with_constants([float(f"{x:.{digits}g}") for x in program.constants])
        if goal(candidate) >= least:
            return candidate
    return program
