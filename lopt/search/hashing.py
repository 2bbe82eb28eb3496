"""Structural hashes of programs: equal for different texts of the same computation."""

import hashlib
from typing import Any

from lopt.search.liveness import prune_loop
from lopt.search.program import FUNCTIONS, Program

_COMMUTATIVE = {name for name, function in FUNCTIONS.items() if function.commutative}


def canonical_hash(program: Program, digits: int = 6) -> str:
    """Structural hash of the live part of a program.

    It does not depend on names, on the order of independent statements, of extra variables or of the arguments of
    commutative functions, on dead code, or on constants beyond `digits` significant digits.

    The hash of a call is computed from its function and its arguments' hashes; an input's hash from its position. Extra
    variables are hashed by partition refinement: they all start as zero, so they start in one class, and classes are
    split by the hashes of the new values until no class can be split. Variables of one class are equal at every step.

    Paper: arXiv 2302.06675 (functional hash).
    Differs: the paper's hash depends on the order of arguments, dead extra variables and the last digit of a constant.
    """
    program = prune_loop(program)
    inputs = _inputs(program)
    calls = [
        (s.target, s.function, [arg if isinstance(arg, str) else f"{arg:.{digits}g}".encode() for arg in s.args])
        for s in program.statements
    ]
    num_classes, states = 1, [b"state"] * len(program.extras)
    while True:
        update, *after = _outputs(program, calls, inputs | dict(zip(program.extras, states, strict=True)))
        classes = sorted(set(after))
        if len(classes) <= num_classes:
            # no class was split: each has one successor
            return _digest("program", update, *(new for _, new in sorted(set(zip(states, after, strict=True))))).hex()
        num_classes, states = len(classes), [b"state %d" % classes.index(new) for new in after]


def skeleton_hash(program: Program) -> str:
    """Structural hash of a program with the values of its constants ignored.

    Two programs have equal hashes only if they differ in nothing but the values of constants and what `canonical_hash`
    ignores. Each constant is a separate placeholder, even if two have equal values. The order of commutative arguments
    that differ in their constants only is kept as written, so some programs of one skeleton have different hashes.
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
    return _digest(_canonical_text(program, nodes, [values[name] for name in program.outputs])).hex()


def _canonical_text(program: Program, nodes: list[tuple[str, list[Any]]], outputs: list[Any]) -> str:
    """The calls in depth-first order from the update, then from the extra variables in the order of their first use."""
    after = dict(zip(program.extras, outputs[1:], strict=True))
    numbers = {name: text.decode() for name, text in _inputs(program).items()} | {None: "constant"}
    lines: list[str] = []
    roots, num_extras = [outputs[0]], 0
    for root in roots:  # extra variables are appended when they are first used
        stack = [root]
        while stack:
            value = stack[-1]
            function, args = nodes[value] if isinstance(value, int) else ("", [])
            pending = [arg for arg in args if arg not in numbers]
            if value not in numbers and not pending:
                if function:
                    lines.append(f"{len(lines)} = {function}({', '.join(numbers[arg] for arg in args)})")
                    numbers[value] = str(len(lines) - 1)
                else:
                    numbers[value], num_extras = f"extra {num_extras}", num_extras + 1
                    roots.append(after[value])
            stack = stack[:-1] if not pending else [*stack, *reversed(pending)]
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
