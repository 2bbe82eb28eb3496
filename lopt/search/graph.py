"""A program as the graph of its values, each made once: what algebra works on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lopt.search.program import FUNCTIONS, Program, Statement, Type

Rule = Callable[["Graph", tuple[int, ...]], int | None]
"""What a call of a function could be instead: another value, or None."""


@dataclass(frozen=True)
class Node:
    """A value: of a parameter by its name, of a constant, or of a function of other values."""

    function: str
    args: tuple[int, ...]
    leaf: str | float
    type: Type


class Graph:
    """Values by number. `call` makes one, or finds that it has been made, or that a rule makes another of it."""

    def __init__(self, program: Program, rules: Mapping[str, Sequence[Rule]]):
        self._program, self._rules = program, rules
        self._nodes: list[Node] = []
        self._numbers: dict[tuple[Any, ...], int] = {}
        self._named: dict[int, str] = {}
        values = {
            name: self._add(Node("", (), name, Type.S if name == program.rate else Type.T))
            for name in program.parameters
        }
        for statement in program.statements:
            args = [values[arg] if isinstance(arg, str) else self.constant(arg) for arg in statement.args]
            values[statement.target] = made = self.call(statement.function, *args)
            self._named.setdefault(made, statement.target)
        self._outputs = [values[name] for name in program.outputs]

    def constant(self, value: float) -> int:
        """The number of a constant."""
        return self._add(Node("", (), float(value), Type.S))

    def call(self, function: str, *args: int) -> int:
        """The number of a function's value."""
        folded = self._folded(function, args)
        if folded is not None:
            return folded
        for rule in self._rules.get(function, ()):
            found = rule(self, args)
            if found is not None:
                return found
        type = FUNCTIONS[function].signatures[tuple([self.type(arg) for arg in args])]
        return self._add(Node(function, args, "", type))

    def args(self, number: int, function: str) -> tuple[int, ...] | None:
        """What a value is this function of; None if it is not."""
        node = self._nodes[number]
        return node.args if node.function == function else None

    def number(self, number: int) -> float | None:
        """A constant's value; None if it is no constant."""
        leaf = self._nodes[number].leaf
        return leaf if isinstance(leaf, float) else None

    def type(self, number: int) -> Type:
        """The type of a value."""
        return self._nodes[number].type

    def program(self) -> Program:
        """The graph as a program that overwrites nothing, with the first names of its values where they are free."""
        needed = {*self._outputs}
        for number in reversed(range(len(self._nodes))):
            if number in needed:
                needed.update(self._nodes[number].args)
        used, texts, statements = {*self._program.parameters}, dict[int, str | float](), []
        for number in sorted(needed):  # arguments are made before what is made of them
            node = self._nodes[number]
            texts[number] = node.leaf
            if node.function:
                texts[number] = name = _free(self._named.get(number, "t"), used)
                used.add(name)
                statements.append(Statement(name, node.function, tuple([texts[arg] for arg in node.args])))
        old, outputs = self._program, tuple([str(texts[number]) for number in self._outputs])
        return Program(old.extras, tuple(statements), outputs, old.inputs, old.rate)

    def _add(self, node: Node) -> int:
        # repr tells -0.0 from 0.0
        key = (node.function, node.args, repr(node.leaf))
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[key]

    def _folded(self, function: str, args: tuple[int, ...]) -> int | None:
        values = [self.number(arg) for arg in args]
        if not values or None in values:
            return None
        with np.errstate(all="ignore"):
            value = float(FUNCTIONS[function].evaluate(np, *[np.float64(x) for x in values]))  # type: ignore[arg-type]
        return self.constant(value) if math.isfinite(value) else None


def _free(name: str, used: set[str]) -> str:
    i, found = 1, name
    while found in used:
        i += 1
        found = f"{name}{i}"
    return found
