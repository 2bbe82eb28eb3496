"""Symbolic search for optimizers: programs, their analysis, mutation and simplification, and their use in optax."""

from lopt.search import published
from lopt.search.dataflow import formula, prune, prune_loop, reads
from lopt.search.distil import (
    POINTWISE,
    Distillation,
    DriftValidity,
    Imitation,
    MixedMutation,
    ProgramDrift,
    expression,
)
from lopt.search.from_program import ProgramState, constants_of, exposed, from_program
from lopt.search.functions import FUNCTIONS, STRICT, Function, Type
from lopt.search.hashing import canonical_hash, fingerprint, skeleton_hash
from lopt.search.mutate import Mutation, mutate_constant, normal, one, random_program, rescale
from lopt.search.parse import ProgramError, parse
from lopt.search.program import Program, Statement, evaluator, interpret, types_of
from lopt.search.simplify import pattern_search, round_constants, shrink, simplify

__all__ = [
    "FUNCTIONS",
    "POINTWISE",
    "STRICT",
    "Distillation",
    "DriftValidity",
    "Function",
    "Imitation",
    "MixedMutation",
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
    "formula",
    "from_program",
    "interpret",
    "mutate_constant",
    "normal",
    "one",
    "parse",
    "pattern_search",
    "prune",
    "prune_loop",
    "published",
    "random_program",
    "reads",
    "rescale",
    "round_constants",
    "shrink",
    "simplify",
    "skeleton_hash",
    "types_of",
]
