"""Liveness analysis of programs: dead code within a step, and over all steps of the training loop."""

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache

from lopt.search.program import Program, Statement


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
