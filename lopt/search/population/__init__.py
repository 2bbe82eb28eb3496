"""Evaluation of many programs at once, in one compiled computation."""

from lopt.search.population.code import (
    Code,
    Interpreter,
    Layout,
    Skeleton,
    encode,
    interpret_sequential,
    interpret_vectorised,
    layout_of,
    stack,
)
from lopt.search.population.evaluate import Evaluation, Evaluator, Proxy, Rung, cosine

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
