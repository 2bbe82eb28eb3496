"""Symbolic search for optimizers: programs, what can be told and changed of them, and their use in optax."""

from lopt.search import published
from lopt.search.constants import normal, one, rescale, tune
from lopt.search.distil import POINTWISE, Distillation, DriftValidity, ProgramDrift, expression
from lopt.search.fingerprint import fingerprint
from lopt.search.from_program import ProgramState, constants_of, exposed, from_program
from lopt.search.hashing import canonical_hash, skeleton_hash
from lopt.search.imitation import Imitation
from lopt.search.liveness import prune, prune_loop, reads
from lopt.search.mutate import Mutation
from lopt.search.polish import polish
from lopt.search.program import (
    FUNCTIONS,
    STRICT,
    Function,
    Program,
    ProgramError,
    Statement,
    Type,
    evaluator,
    interpret,
    parse,
    types_of,
)
from lopt.search.random_program import random_program
from lopt.search.simplify import shrink, simplify

__all__ = [
    "FUNCTIONS",
    "POINTWISE",
    "STRICT",
    "Distillation",
    "DriftValidity",
    "Function",
    "Imitation",
    "Mutation",
    "Program",
    "ProgramDrift",
    "ProgramError",
    "ProgramState",
    "Statement",
    "Type",
    "canonical_hash",
    "constants_of",
    "evaluator",
    "exposed",
    "expression",
    "fingerprint",
    "from_program",
    "interpret",
    "normal",
    "one",
    "parse",
    "polish",
    "prune",
    "prune_loop",
    "published",
    "random_program",
    "reads",
    "rescale",
    "shrink",
    "simplify",
    "skeleton_hash",
    "tune",
    "types_of",
]
