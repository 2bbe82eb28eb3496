"""Symbolic search for optimizers: programs, what can be told and changed of them, and their use in optax."""

from lopt.search import published
from lopt.search.program import (
    FUNCTIONS,
    STRICT,
    Function,
    Program,
    ProgramError,
    Statement,
    Type,
    interpret,
    parse,
    run,
    types_of,
)

__all__ = [
    "FUNCTIONS",
    "STRICT",
    "Function",
    "Program",
    "ProgramError",
    "Statement",
    "Type",
    "interpret",
    "parse",
    "published",
    "run",
    "types_of",
]
