"""Mutation of programs, of their constants alone, and random programs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf, prod
from typing import Any

import numpy as np

from lopt.search.functions import FUNCTIONS, Type
from lopt.search.program import Program, Statement, suggestion, types_before

MAX_CONSTANT = 1e10
"""Bound on the absolute value of a mutated constant."""


def normal(rng: np.random.Generator) -> float:
    """A new constant drawn from N(0, 1), as in arXiv 2302.06675."""
    return rng.standard_normal()


def one(rng: np.random.Generator) -> float:
    """A new constant of 1, as in the published code (google/automl); `rng` is not used."""
    return 1.0


def rescale(rng: np.random.Generator, constant: float, spread: float = 1.0) -> float:
    """The constant multiplied by 2^a with a ~ N(0, spread^2), clipped to +-`MAX_CONSTANT`; the paper's spread is 1."""
    return min(max(constant * 2.0 ** (spread * rng.standard_normal()), -MAX_CONSTANT), MAX_CONSTANT)


def mutate_constant(rng: np.random.Generator, program: Program, spread: float = 1.0) -> Program:
    """The program with one constant, chosen uniformly, rescaled: the mutation of the hyper-parameter search baseline.

    Args:
        rng: source of randomness.
        program: the parent.
        spread: standard deviation of the exponent of 2, as in `rescale`.

    Raises:
        ValueError: a program without constants.
    """
    values = list(program.constants)
    if not values:
        raise ValueError("mutate_constant: the program has no constants")
    i = random_index(rng, len(values))
    values[i] = rescale(rng, values[i], spread)
    return program.with_constants(values)


def random_index(rng: np.random.Generator, n: int) -> int:
    """A uniform integer in [0, n); several times faster than `rng.integers`."""
    return int(rng.random() * n)


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """A random change of a program that keeps it valid: insert, delete or modify a statement.

    *Insert*: a position is drawn uniformly, then a function that has admissible arguments there, then one of its
    admissible tuples of arguments (variables, and a new constant wherever a scalar is admitted), then a target: one of
    the variables of the result's type, or a new name. Tuples are counted, not enumerated.

    *Delete*: a statement, uniformly among those whose removal leaves the program valid.

    *Modify*: an argument of a statement, both drawn uniformly. A variable becomes another one of its type, or, if it is
    a scalar, a new constant; a constant is rescaled by 2^N(0, 1), becomes a new constant, or becomes a scalar variable.

    The function of a statement is never changed. Redundant statements are kept.

    Attributes:
        functions: names of the functions that may be inserted.
        constant: draws a new constant.
        delete, insert, modify: relative probabilities of the three changes. If the drawn change is impossible, another
            one is drawn.
        longest: nothing is inserted into programs of this many statements or more.

    Raises:
        ValueError: probabilities that are negative or all zero, unknown functions or none, or `longest` below one.

    Paper: arXiv 2302.06675 (mutations).
    Differs: the published code inserts constants of 1 (`constant=one`), never replaces a variable by a constant, and
        counts the return statement in `longest`.
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
                raise ValueError(f"Mutation: there is no function {name!r}{suggestion(name, FUNCTIONS)}")
        if not self._signatures:
            raise ValueError(f"Mutation: functions must hold one that admits arguments (got {self.functions})")
        if self.longest < 1:
            raise ValueError(f"Mutation: longest must be >= 1 (got {self.longest})")

    def __call__(self, rng: np.random.Generator, program: Program) -> Program:
        """A mutated copy of a valid program, which is valid too.

        Raises:
            ValueError: no change with a positive probability is possible.
        """
        changes: dict[Any, float] = {self._insert: self.insert, self._delete: self.delete, self._modify: self.modify}
        if len(program.statements) >= self.longest:
            del changes[self._insert]
        while any(changes.values()):
            change = _weighted_choice(rng, changes)
            child = change(rng, program)
            if child is not None:
                return child
            del changes[change]
        raise ValueError(f"Mutation: no allowed change is possible for this program:\n{program}")

    def random_statement(self, rng: np.random.Generator, program: Program, position: int) -> Statement:
        """A random statement that is valid before the statement at `position`, drawn as *insert* draws it.

        Raises:
            ValueError: no function has admissible arguments at this position.
        """
        bound = types_before(program, position)
        names: tuple[list[str], ...] = ([], [], [])
        for name, type in bound.items():
            names[type].append(name)
        counts = (len(names[0]), len(names[1]) + 1, len(names[2]))
        for i in _random_order(rng, len(self._signatures)):
            function, signatures = self._signatures[i]
            num_tuples = [prod([counts[type] for type in types]) for types, _ in signatures]
            if any(num_tuples):
                break
        else:
            raise ValueError(f"Mutation: {self.functions} admit nothing that is bound before statement {position}")
        draw, index = random_index(rng, sum(num_tuples)), 0
        while draw >= num_tuples[index]:
            draw -= num_tuples[index]
            index += 1
        types, result = signatures[index]
        chosen = [(names[type], random_index(rng, counts[type])) for type in types]
        args = tuple([variables[i] if i < len(variables) else self.constant(rng) for variables, i in chosen])
        targets = names[result]
        i = random_index(rng, len(targets) + 1)
        return Statement(targets[i] if i < len(targets) else _new_name(program), function, args)

    @cached_property
    def _signatures(self) -> list[tuple[str, list[tuple[tuple[Type, ...], Type]]]]:
        """Names and signatures of the functions that have a signature."""
        return [(name, [*known.items()]) for name in self.functions if (known := FUNCTIONS[name].signatures)]

    def _insert(self, rng: np.random.Generator, program: Program) -> Program:
        old = program.statements
        position = random_index(rng, len(old) + 1)
        new = self.random_statement(rng, program, position)
        return program.with_statements((*old[:position], new, *old[position:]))

    def _delete(self, rng: np.random.Generator, program: Program) -> Program | None:
        for i in _random_order(rng, len(program.statements)):
            child = program.with_statements(program.statements[:i] + program.statements[i + 1 :])
            if _valid(child):
                return child
        return None

    def _modify(self, rng: np.random.Generator, program: Program) -> Program | None:
        for i in _random_order(rng, len(program.statements)):
            args = program.statements[i].args
            bound = types_before(program, i) if args else {}
            for j in _random_order(rng, len(args)):
                arg = args[j]
                type = bound[arg] if isinstance(arg, str) else Type.S
                others = [name for name, t in bound.items() if t == type and name != arg]
                new = self._new_argument(rng, arg, others, type)
                if new is not None:
                    return program.with_argument(i, j, new)
        return None

    def _new_argument(
        self, rng: np.random.Generator, arg: str | float, others: list[str], type: Type
    ) -> str | float | None:
        """A replacement of an argument, given the other variables of its type; None if there is none."""
        if isinstance(arg, str):
            count = len(others) + (type == Type.S)
            if not count:
                return None
            i = random_index(rng, count)
            return others[i] if i < len(others) else self.constant(rng)
        kind = random_index(rng, 3)
        if kind == 0 and others:
            return others[random_index(rng, len(others))]
        return self.constant(rng) if kind == 1 else rescale(rng, arg)


def _weighted_choice(rng: np.random.Generator, weights: dict[Any, float]) -> Any:
    """A key, drawn with a probability in proportion to its weight."""
    draw = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        if draw < weight:
            return key
        draw -= weight
    return max(weights, key=lambda key: weights[key])  # reached by rounding alone


def _random_order(rng: np.random.Generator, n: int) -> Iterator[int]:
    """The integers below n in random order, drawn lazily."""
    remaining = list(range(n))
    while remaining:
        yield remaining.pop(random_index(rng, len(remaining)))


def _valid(program: Program) -> bool:
    try:
        bound = types_before(program, len(program.statements))
        return all([bound[name] == Type.T for name in program.outputs])
    except KeyError:  # an unbound name, or a signature that does not exist
        return False


def _new_name(program: Program) -> str:
    """The first of v0, v1, ... that the program does not use."""
    used = {*program.parameters, *(statement.target for statement in program.statements)}
    i = 0
    while f"v{i}" in used:
        i += 1
    return f"v{i}"


def random_program(
    rng: np.random.Generator, length: int, extras: tuple[str, ...] = ("m", "v"), mutation: Mutation | None = None
) -> Program:
    """A random valid program of `length` statements, each drawn as `Mutation` draws an insertion at the end.

    The update is one of the assigned variables of type T, drawn uniformly (the gradient if there is none); each extra
    variable returns the value of its own name.

    Args:
        rng: source of randomness.
        length: number of statements.
        extras: names of the extra variables.
        mutation: draws the statements; `Mutation()` by default.

    Raises:
        ValueError: a negative length.
    """
    if length < 0:
        raise ValueError(f"random_program: length must be >= 0 (got {length})")
    mutation = mutation or Mutation()
    program = Program(extras, (), ("g", *extras))
    for _ in range(length):
        new = mutation.random_statement(rng, program, len(program.statements))
        program = program.with_statements((*program.statements, new))
    bound = types_before(program, length)
    trees = sorted({s.target for s in program.statements if bound[s.target] == Type.T}) or ["g"]
    return replace(program, outputs=(trees[random_index(rng, len(trees))], *extras))
