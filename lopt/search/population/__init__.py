"""Evaluation of many programs at once, in one compiled computation."""

from lopt.search.population.code import Code, Layout, layout_of
from lopt.search.population.encode import encode, stack
from lopt.search.population.evaluate import Evaluation, Evaluator, Rung
from lopt.search.population.interpret import Interpreter, interpret_sequential, interpret_vectorised
from lopt.search.population.proxy import Proxy, cosine
from lopt.search.population.skeleton import Skeleton

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
