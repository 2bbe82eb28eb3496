"""Data flow of programs: liveness analysis, the graph of values to which rewrite rules are applied, and formulas with
nested expressions.
"""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from lopt.search.functions import FUNCTIONS, Type
from lopt.search.program import SIGNS, Program, Statement, call_text


def prune(program: Program) -> Program:
    """The program without the statements that none of its outputs depends on.

    Paper: arXiv 2302.06675 (abstract execution; 70 % of the statements are redundant near the end of the search).
    """
    statements, _ = _needed(program.statements, program.outputs)
    return replace(program, statements=statements)


@lru_cache(maxsize=4096)
def prune_loop(program: Program) -> Program:
    """The program without statements and extra variables that no update depends on, at this or any later step.

    An extra variable is live if the update or another live extra variable depends on it (the least fixed point from the
    update). `prune` keeps all outputs; this also removes outputs of dead extra variables, as the cosh in the raw Lion.

    The results for the last few thousand programs are kept: a candidate of a search is pruned once for its hashes, its
    evaluation and its metrics.

    Paper: arXiv 2302.06675 (abstract execution).
    Differs: the paper prunes within one step only, and removes dead extra variables by hand.
    """
    live: set[str] = set()
    update, *after = program.outputs
    while True:
        kept = [(name, out) for name, out in zip(program.extras, after, strict=True) if name in live]
        statements, read = _needed(program.statements, [update, *(out for _, out in kept)])
        read_extras = {name for name in program.extras if name in read}
        if read_extras <= live:
            outputs = (update, *(out for _, out in kept))
            return replace(program, extras=tuple(name for name, _ in kept), statements=statements, outputs=outputs)
        live |= read_extras


def reads(program: Program) -> set[str]:
    """The parameters (inputs, extra variables, lr) that the outputs of one step depend on."""
    return _needed(program.statements, program.outputs)[1]


def _needed(statements: tuple[Statement, ...], outputs: Collection[str]) -> tuple[tuple[Statement, ...], set[str]]:
    """The statements that the outputs depend on, and the names that must be bound before the first statement."""
    needed, kept = set(outputs), []
    for statement in reversed(statements):
        if statement.target in needed:
            needed.discard(statement.target)
            needed.update([arg for arg in statement.args if type(arg) is str])
            kept.append(statement)
    return tuple(reversed(kept)), needed


Rule = Callable[["Graph", tuple[int, ...]], int | None]
"""A rewrite rule `(graph, args) -> value`: the value that replaces a call with these arguments, or None."""


@dataclass(frozen=True)
class Node:
    """A value: a parameter, a constant, or a call.

    Attributes:
        function: the function's name; empty for a parameter or constant.
        args: numbers of the arguments' nodes.
        leaf: a parameter's name or a constant's value; empty for a call.
        type: type of the value.
    """

    function: str
    args: tuple[int, ...]
    leaf: str | float
    type: Type


class Graph:
    """The values of a program, addressed by number.

    `call` adds a value, unless an equal one exists, a rule rewrites it or it can be folded to a constant.
    """

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
            values[statement.target] = number = self.call(statement.function, *args)
            self._named.setdefault(number, statement.target)
        self._outputs = [values[name] for name in program.outputs]

    def constant(self, value: float) -> int:
        """The number of the node of a constant, which is added if it is new."""
        return self._add(Node("", (), float(value), Type.S))

    def call(self, function: str, *args: int) -> int:
        """The number of the value of a call: constants are folded and rules applied before a node is added."""
        folded = self._fold(function, args)
        if folded is not None:
            return folded
        for rule in self._rules.get(function, ()):
            rewritten = rule(self, args)
            if rewritten is not None:
                return rewritten
        type = FUNCTIONS[function].signatures[tuple([self.type(arg) for arg in args])]
        return self._add(Node(function, args, "", type))

    def args(self, number: int, function: str) -> tuple[int, ...] | None:
        """The arguments of a value that is a call of `function`; None for any other value."""
        node = self._nodes[number]
        return node.args if node.function == function else None

    def number(self, number: int) -> float | None:
        """The value of a constant's node; None for any other node."""
        leaf = self._nodes[number].leaf
        return leaf if isinstance(leaf, float) else None

    def type(self, number: int) -> Type:
        """The type of a node's value."""
        return self._nodes[number].type

    def program(self) -> Program:
        """The live nodes as a program without reassignment; values keep their original names where these are free."""
        live = {*self._outputs}
        for number in reversed(range(len(self._nodes))):
            if number in live:
                live.update(self._nodes[number].args)
        used, operands, statements = {*self._program.parameters}, dict[int, str | float](), []
        for number in sorted(live):  # a node's arguments have smaller numbers than the node
            node = self._nodes[number]
            operands[number] = node.leaf
            if node.function:
                operands[number] = name = _unused_name(self._named.get(number, "t"), used)
                used.add(name)
                statements.append(Statement(name, node.function, tuple([operands[arg] for arg in node.args])))
        old, outputs = self._program, tuple([str(operands[number]) for number in self._outputs])
        return Program(old.extras, tuple(statements), outputs, old.inputs, old.rate)

    def _add(self, node: Node) -> int:
        # repr distinguishes -0.0 from 0.0
        key = (node.function, node.args, repr(node.leaf))
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[key]

    def _fold(self, function: str, args: tuple[int, ...]) -> int | None:
        values = [self.number(arg) for arg in args]
        if not values or None in values:
            return None
        with np.errstate(all="ignore"):
            value = float(FUNCTIONS[function].evaluate(np, *[np.float64(x) for x in values]))  # type: ignore[arg-type]
        return self.constant(value) if math.isfinite(value) else None


def _unused_name(name: str, used: set[str]) -> str:
    i, candidate = 1, name
    while candidate in used:
        i += 1
        candidate = f"{name}{i}"
    return candidate


WIDTH = 60
"""Expressions of more characters than this are assigned to a variable."""


def formula(program: Program, name: str = "train") -> str:
    """The live part of a program as a Python function in which values that are used once are inlined.

    `lopt.search.parse` of it is a program with the same `canonical_hash`. Example:

        def drift(r, A, t):
            x0 = r - 1.0
            return max((x0 * x0) * A, 0.0)
    """
    program = prune_loop(program)
    nodes, outputs = _nodes(program)
    uses = Counter([arg for _, args in nodes for arg in args] + outputs)
    texts: dict[Any, tuple[str, bool]] = {}  # text, and whether it is infix arithmetic, which is put in parentheses
    lines: list[str] = []
    for i, (function, args) in enumerate(nodes):
        infix = function in SIGNS
        text = call_text(function, [_part(texts, arg, bracket=infix) for arg in args])
        texts[i] = (text, infix)
        if uses[i] > 1 or (len(text) > WIDTH and i not in outputs):
            new = next(
                x
                for k in range(len(lines), len(nodes) + len(program.parameters) + 1)
                if (x := f"x{k}") not in program.parameters
            )
            lines.append(f"{new} = {text}")
            texts[i] = (new, False)
    lines.append(f"return {', '.join(_part(texts, out, bracket=False) for out in outputs)}")
    return "\n".join([f"def {name}({', '.join(program.parameters)}):", *(f"    {line}" for line in lines), ""])


def _nodes(program: Program) -> tuple[list[tuple[str, list[Any]]], list[Any]]:
    """The calls with their arguments, and the outputs.

    Arguments and outputs are indices of calls, ("parameter", name) or ("constant", value).
    """
    values: dict[str, Any] = {name: ("parameter", name) for name in program.parameters}
    nodes: list[tuple[str, list[Any]]] = []
    for statement in program.statements:
        args = [values[arg] if isinstance(arg, str) else ("constant", arg) for arg in statement.args]
        values[statement.target] = len(nodes)
        nodes.append((statement.function, args))
    return nodes, [values[name] for name in program.outputs]


def _part(texts: dict[Any, tuple[str, bool]], arg: Any, bracket: bool) -> str:
    if isinstance(arg, int):
        text, infix = texts[arg]
        return f"({text})" if infix and bracket else text
    kind, value = arg
    return value if kind == "parameter" else repr(float(value))
