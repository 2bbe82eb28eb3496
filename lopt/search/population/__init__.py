"""Evaluation of many programs at once, in one compiled computation."""

from lopt.search.population.code import Code, Layout, encode, layout_of, stack
from lopt.search.population.evaluate import Evaluation, Evaluator, Proxy, Rung, cosine
from lopt.search.population.interpret import Interpreter, Skeleton, interpret_sequential, interpret_vectorised

__all__ = [
    "Code",
    "Evaluation",
    "Evaluator",
    "Interpreter",
    "Layout",
    "Proxy",
    "Rung",
    "Skeleton",
    "cosine",
    "encode",
    "interpret_sequential",
    "interpret_vectorised",
    "layout_of",
    "stack",
]
