"""Names for what a program computes, the same for all the ways to write it."""

import hashlib
from typing import Any

from lopt.search.liveness import prune_loop
from lopt.search.program import FUNCTIONS, Program

_COMMUTATIVE = {name for name, function in FUNCTIONS.items() if function.commutative}


def canonical_hash(program: Program, digits: int = 6) -> str:
    """The same for programs that differ in names, in the order of statements, extra variables or commutative
    arguments, in dead code, or in constants beyond so many significant digits.

    A call's hash is that of its function and of its arguments' hashes; inputs go by their position. Extra variables
    go by what they become: all begin as the same zero, so they begin alike, and are told apart by their new values'
    hashes until no more can be; those that never can are equal at every step, and count as one.

    Paper: arXiv 2302.06675, the functional hash.
    Differs: there argument order, dead extra variables and the last digit of a constant count.
    """
    program = prune_loop(program)
    inputs = _inputs(program)
    calls = [
        (s.target, s.function, [arg if isinstance(arg, str) else f"{arg:.{digits}g}".encode() for arg in s.args])
        for s in program.statements
    ]
    kinds, states = 1, [b"state"] * len(program.extras)
    while True:
        update, *after = _outputs(program, calls, inputs | dict(zip(program.extras, states, strict=True)))
        found = sorted(set(after))
        if len(found) <= kinds:
            # as many kinds as before: every kind has one successor
            return _digest("program", update, *(new for _, new in sorted(set(zip(states, after, strict=True))))).hex()
        kinds, states = len(found), [b"state %d" % found.index(new) for new in after]


def skeleton_hash(program: Program) -> str:
    """The same only for programs that are the same but for the values of their constants, names and dress.

    Every constant is one of its own here, equal to another or not: the hash is that of the program written from its
    outputs backwards, with the places of constants marked. Of commutative arguments that differ in their constants
    alone the order as written counts, so that some programs of one skeleton have two.
    """
    program = prune_loop(program)
    values: dict[str, Any] = {name: name for name in program.parameters}
    nodes: list[tuple[str, list[Any]]] = []
    shapes = {name: b"extra" for name in program.extras} | _inputs(program)
    for s in program.statements:
        args = [values[arg] if isinstance(arg, str) else None for arg in s.args]
        if s.function in _COMMUTATIVE:
            args.sort(key=lambda arg: shapes.get(arg, b"constant"))
        values[s.target] = len(nodes)
        shapes[len(nodes)] = _digest(s.function, *(shapes.get(arg, b"constant") for arg in args))
        nodes.append((s.function, args))
    return _digest(_written(program, nodes, [values[name] for name in program.outputs])).hex()


def _written(program: Program, nodes: list[tuple[str, list[Any]]], outputs: list[Any]) -> str:
    """Calls in the order in which the update needs them, then those of each extra variable as it is met."""
    after = dict(zip(program.extras, outputs[1:], strict=True))
    numbers = {name: text.decode() for name, text in _inputs(program).items()} | {None: "constant"}
    lines: list[str] = []
    roots, met = [outputs[0]], 0
    for root in roots:  # grows as extra variables are met
        stack = [root]
        while stack:
            value = stack[-1]
            function, args = nodes[value] if isinstance(value, int) else ("", [])
            waiting = [arg for arg in args if arg not in numbers]
            if value not in numbers and not waiting:
                if function:
                    lines.append(f"{len(lines)} = {function}({', '.join(numbers[arg] for arg in args)})")
                    numbers[value] = str(len(lines) - 1)
                else:
                    numbers[value], met = f"extra {met}", met + 1
                    roots.append(after[value])
            stack = stack[:-1] if not waiting else [*stack, *reversed(waiting)]
        lines.append(f"{len(lines)} returned {numbers[root]}")
    return "\n".join(lines)


def _inputs(program: Program) -> dict[Any, bytes]:
    return {name: f"input {i}".encode() for i, name in enumerate(program.inputs)} | {program.rate: b"rate"}


def _outputs(program: Program, calls: list[tuple[str, str, list[Any]]], values: dict[str, bytes]) -> list[bytes]:
    for target, function, args in calls:
        parts = [values[arg] if type(arg) is str else arg for arg in args]
        if function in _COMMUTATIVE:
            parts.sort()
        values[target] = _digest(function, *parts)
    return [values[name] for name in program.outputs]


def _digest(name: str, *parts: bytes) -> bytes:
    return hashlib.blake2b(b"(".join([name.encode(), *parts]), digest_size=12).digest()
