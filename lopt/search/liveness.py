"""What of a program has an effect: in one step, and over the whole run."""

from collections.abc import Collection
from dataclasses import replace

from lopt.search.program import Program, Statement


def prune(program: Program) -> Program:
    """The program without the statements that nothing it returns depends on.

    Paper: arXiv 2302.06675, abstract execution: near the end of its search seven statements of ten were redundant.
    """
    statements, _ = _needed(program.statements, program.outputs)
    return replace(program, statements=statements)


def prune_loop(program: Program) -> Program:
    """The program without what no update ever depends on: statements, and extra variables with their outputs.

    An extra variable is live if the update reads it, or if a live one does: the least fixpoint from the update. What
    `prune` keeps because it is returned goes here if it is returned to no effect (in the raw Lion, the cosh).

    Differs: arXiv 2302.06675 prunes within one step only, and drops such variables by hand.
    """
    live: set[str] = set()
    update, *after = program.outputs
    while True:
        kept = [(name, out) for name, out in zip(program.extras, after, strict=True) if name in live]
        statements, read = _needed(program.statements, [update, *(out for _, out in kept)])
        found = {name for name in program.extras if name in read}
        if found <= live:
            outputs = (update, *(out for _, out in kept))
            return replace(program, extras=tuple(name for name, _ in kept), statements=statements, outputs=outputs)
        live |= found


def reads(program: Program) -> set[str]:
    """The parameters whose values have an effect within a step."""
    return _needed(program.statements, program.outputs)[1]


def _needed(statements: tuple[Statement, ...], outputs: Collection[str]) -> tuple[tuple[Statement, ...], set[str]]:
    """The statements that the outputs depend on, and the names that must be bound before the first."""
    needed, kept = set(outputs), []
    for statement in reversed(statements):
        if statement.target in needed:
            needed.discard(statement.target)
            needed.update([arg for arg in statement.args if type(arg) is str])
            kept.append(statement)
    return tuple(reversed(kept)), needed
