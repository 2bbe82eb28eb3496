"""Names for what a program computes, the same for all the ways to write it."""

import hashlib
from collections.abc import Callable
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
    return _hash(program, lambda constant: f"{constant:.{digits}g}")


def skeleton_hash(program: Program) -> str:
    """`canonical_hash` with all constants alike: what it names compiles once and is tuned by its constants."""
    return _hash(program, lambda constant: "constant")


def _hash(program: Program, constant: Callable[[float], str]) -> str:
    program = prune_loop(program)
    inputs = {name: f"input {i}".encode() for i, name in enumerate(program.inputs)} | {program.rate: b"rate"}
    calls = [
        (s.target, s.function, [arg if isinstance(arg, str) else constant(arg).encode() for arg in s.args])
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


def _outputs(program: Program, calls: list[tuple[str, str, list[Any]]], values: dict[str, bytes]) -> list[bytes]:
    for target, function, args in calls:
        parts = [values[arg] if type(arg) is str else arg for arg in args]
        if function in _COMMUTATIVE:
            parts.sort()
        values[target] = _digest(function, *parts)
    return [values[name] for name in program.outputs]


def _digest(name: str, *parts: bytes) -> bytes:
    return hashlib.blake2b(b"(".join([name.encode(), *parts]), digest_size=12).digest()
