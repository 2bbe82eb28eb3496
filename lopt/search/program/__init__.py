"""The program language: functions, types, parser and an interpreter on the host."""

from lopt.search.program.functions import FUNCTIONS, STRICT, Function, Type
from lopt.search.program.interpret import evaluator, interpret
from lopt.search.program.parse import ProgramError, parse
from lopt.search.program.program import Program, Statement, types_of

__all__ = [
    "FUNCTIONS",
    "STRICT",
    "Function",
    "Program",
    "ProgramError",
    "Statement",
    "Type",
    "evaluator",
    "interpret",
    "parse",
    "types_of",
]
