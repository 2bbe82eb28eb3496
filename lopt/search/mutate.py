"""Mutation: programs that differ from a valid one in one place, and are valid too."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import inf, prod
from typing import Any

import numpy as np

from lopt.search.constants import below, normal, rescale
from lopt.search.program import FUNCTIONS, Program, Statement, Type
from lopt.search.program.types import near, types_before


@dataclass(frozen=True)
class Mutation:
    """One change to a valid program, drawn from those that leave it valid: insert, delete or modify a statement.

    *Insert*: a place, a function, arguments and a target, each uniformly among what the types allow there: a function
    that admits something, then one of all tuples of variables (and a new constant, wherever a scalar may stand) that
    it admits, then one of the variables of the value's type or a new name. Nothing is enumerated: tuples are counted.

    *Delete*: a statement, uniformly among those that the others can do without.

    *Modify*: an argument of a statement, uniformly. A variable becomes another one of its type, or a new constant if
    it is a scalar; a constant is rescaled by 2^N(0, 1), becomes a new one, or becomes a scalar variable.

    The function of a statement never changes, and what is redundant stays.

    Attributes:
        functions: the names of what may be inserted.
        constant: draws a new constant.
        delete, insert, modify: how often each is tried first, relative to the others; where it cannot be done,
            another one is.
        longest: the number of statements from which on none is inserted.

    Raises:
        ValueError: weights that are negative or all zero, unknown functions or none, or a length below one.

    Paper: arXiv 2302.06675, mutations.
    Differs: the published code inserts constants of 1 (`constant=one`), never makes a constant of a variable, and
        counts the return as a statement of `longest`.
    """

    functions: tuple[str, ...] = (*FUNCTIONS,)
    constant: Callable[[np.random.Generator], float] = normal
    delete: float = 1.0
    insert: float = 1.0
    modify: float = 1.0
    longest: float = inf

    def __post_init__(self) -> None:
        weights = (self.delete, self.insert, self.modify)
        if min(weights) < 0 or not 0 < sum(weights) < inf:
            raise ValueError(f"Mutation: delete, insert and modify must be >= 0 and not all zero (got {weights})")
        for name in self.functions:
            if name not in FUNCTIONS:
                raise ValueError(f"Mutation: there is no function {name!r}{near(name, FUNCTIONS)}")
        if not self._signatures:
            raise ValueError(f"Mutation: functions must hold one that admits arguments (got {self.functions})")
        if self.longest < 1:
            raise ValueError(f"Mutation: longest must be >= 1 (got {self.longest})")

    def __call__(self, rng: np.random.Generator, program: Program) -> Program:
        """A valid child of a valid program.

        Raises:
            ValueError: nothing that has a weight above zero can be done to this program.
        """
        moves: dict[Any, float] = {self._inserted: self.insert, self._deleted: self.delete, self._modified: self.modify}
        if len(program.statements) >= self.longest:
            del moves[self._inserted]
        while any(moves.values()):
            move = _drawn(rng, moves)
            child = move(rng, program)
            if child is not None:
                return child
            del moves[move]
        raise ValueError(f"Mutation: nothing that is allowed can be done to this program:\n{program}")

    def statement(self, rng: np.random.Generator, program: Program, place: int) -> Statement:
        """A random statement that can stand before the one at `place`.

        Raises:
            ValueError: none of the functions admits what is bound there.
        """
        bound = types_before(program, place)
        names: tuple[list[str], ...] = ([], [], [])
        for name, type in bound.items():
            names[type].append(name)
        counts = (len(names[0]), len(names[1]) + 1, len(names[2]))
        for i in _shuffled(rng, len(self._signatures)):
            function, signatures = self._signatures[i]
            ways = [prod([counts[type] for type in types]) for types, _ in signatures]
            if any(ways):
                break
        else:
            raise ValueError(f"Mutation: {self.functions} admit nothing that is bound before statement {place}")
        drawn, which = below(rng, sum(ways)), 0
        while drawn >= ways[which]:
            drawn -= ways[which]
            which += 1
        types, result = signatures[which]
        chosen = [(names[type], below(rng, counts[type])) for type in types]
        args = tuple([those[i] if i < len(those) else self.constant(rng) for those, i in chosen])
        targets = names[result]
        i = below(rng, len(targets) + 1)
        return Statement(targets[i] if i < len(targets) else _fresh(program), function, args)

    @cached_property
    def _signatures(self) -> list[tuple[str, list[tuple[tuple[Type, ...], Type]]]]:
        """Of the functions that have any."""
        return [(name, [*found.items()]) for name in self.functions if (found := FUNCTIONS[name].signatures)]

    def _inserted(self, rng: np.random.Generator, program: Program) -> Program:
        old = program.statements
        place = below(rng, len(old) + 1)
        return program.with_statements((*old[:place], self.statement(rng, program, place), *old[place:]))

    def _deleted(self, rng: np.random.Generator, program: Program) -> Program | None:
        for i in _shuffled(rng, len(program.statements)):
            child = program.with_statements(program.statements[:i] + program.statements[i + 1 :])
            if _valid(child):
                return child
        return None

    def _modified(self, rng: np.random.Generator, program: Program) -> Program | None:
        for i in _shuffled(rng, len(program.statements)):
            args = program.statements[i].args
            bound = types_before(program, i) if args else {}
            for j in _shuffled(rng, len(args)):
                arg = args[j]
                type = bound[arg] if isinstance(arg, str) else Type.S
                others = [name for name, t in bound.items() if t == type and name != arg]
                new = self._replaced(rng, arg, others, type)
                if new is not None:
                    return program.with_argument(i, j, new)
        return None

    def _replaced(
        self, rng: np.random.Generator, arg: str | float, others: list[str], type: Type
    ) -> str | float | None:
        """What an argument becomes, given the other variables of its type; None if there is nothing."""
        if isinstance(arg, str):
            count = len(others) + (type == Type.S)
            if not count:
                return None
            i = below(rng, count)
            return others[i] if i < len(others) else self.constant(rng)
        kind = below(rng, 3)
        if kind == 0 and others:
            return others[below(rng, len(others))]
        return self.constant(rng) if kind == 1 else rescale(rng, arg)


def _drawn(rng: np.random.Generator, weights: dict[Any, float]) -> Any:
    """A key, by its weight."""
    drawn = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        if drawn < weight:
            return key
        drawn -= weight
    return max(weights, key=lambda key: weights[key])  # what rounding left over


def _shuffled(rng: np.random.Generator, n: int) -> Iterator[int]:
    """The numbers below n in random order, drawn as they are asked for."""
    left = list(range(n))
    while left:
        yield left.pop(below(rng, len(left)))


def _valid(program: Program) -> bool:
    try:
        bound = types_before(program, len(program.statements))
        return all([bound[name] == Type.T for name in program.outputs])
    except KeyError:  # a name that is not bound, or a signature that does not exist
        return False


def _fresh(program: Program) -> str:
    """The first of v0, v1, ... that is nowhere in the program."""
    used = {*program.parameters, *(statement.target for statement in program.statements)}
    i = 0
    while f"v{i}" in used:
        i += 1
    return f"v{i}"
