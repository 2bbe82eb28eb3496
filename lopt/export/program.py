"""Rule files of programs found by symbolic search."""

from pathlib import Path
from typing import Any

from lopt.export.parts import PROGRAM, describe
from lopt.export.rule import Card, load_rule, save_rule
from lopt.search import Program, constants_of, parse, types_of

KIND = PROGRAM


def save_program(
    path: str | Path,
    program: Program,
    *,
    command: str = "",
    seed: int | None = None,
    metrics: dict[str, Any] | None = None,
    notes: str = "",
) -> Path:
    """Write a program as a rule file: its text in the card, its live constants c0, c1, ... in the arrays.

    Args:
        path: as in `save_rule`.
        program: a valid program.
        command, seed, metrics, notes: the provenance, as in `Card`.

    Returns:
        The path of the card.

    Raises:
        ValueError: a program that is not valid, and what `Card` raises.
    """
    types_of(program)
    card = Card(KIND, describe(program)["config"], command, seed, metrics=metrics or {}, notes=notes)
    return save_rule(path, dict(constants_of(program)), card)


def load_program(path: str | Path) -> Program:
    """Read a program from a rule file; the program is parsed, not executed.

    Example:
        program = lopt.export.load_program("runs/search/rule")
        tx = lopt.from_program(program, optax.cosine_decay_schedule(1.0, 10_000))

    Raises:
        ValueError: what `load_rule` raises; a rule of another kind; a text that is no program, or whose constants
            differ from the saved arrays.
    """
    rule = load_rule(path)
    text = rule.card.config.get("program")
    if rule.card.kind != KIND or not isinstance(text, str):
        raise ValueError(f"rule: {path} is no program (expected kind {KIND}, got {rule.card.kind})")
    program = parse(text, rule.card.config.get("num_inputs", 2))
    constants = {name: float(value) for name, value in rule.theta.items()}
    if constants != constants_of(program):
        raise ValueError(
            f"rule: the program in the card of {path} has other constants than were saved (expected {constants}, got "
            f"{constants_of(program)}); export the rule again"
        )
    return program
