"""Programs as compact formulas with nested expressions."""

from collections import Counter
from typing import Any

from lopt.search.dataflow import prune_loop
from lopt.search.program import SIGNS, Program, call_text

WIDTH = 60
"""Expressions of more characters than this are assigned to a variable."""


def formula(program: Program, name: str = "train") -> str:
    """The live part of a program as a Python function in which values that are used once are inlined.

    `lopt.search.parse` of it is a program with the same `canonical_hash`. Example:

        def drift(r, A, t):
            x0 = r - 1.0
            return max((x0 * x0) * A, 0.0)
    """
    program = prune_loop(program)
    nodes, outputs = _nodes(program)
    uses = Counter([arg for _, args in nodes for arg in args] + outputs)
    texts: dict[Any, tuple[str, bool]] = {}  # text, and whether it is infix arithmetic, which is put in parentheses
    lines: list[str] = []
    for i, (function, args) in enumerate(nodes):
        infix = function in SIGNS
        text = call_text(function, [_part(texts, arg, bracket=infix) for arg in args])
        texts[i] = (text, infix)
        if uses[i] > 1 or (len(text) > WIDTH and i not in outputs):
            new = next(
                x
                for k in range(len(lines), len(nodes) + len(program.parameters) + 1)
                if (x := f"x{k}") not in program.parameters
            )
            lines.append(f"{new} = {text}")
            texts[i] = (new, False)
    lines.append(f"return {', '.join(_part(texts, out, bracket=False) for out in outputs)}")
    return "\n".join([f"def {name}({', '.join(program.parameters)}):", *(f"    {line}" for line in lines), ""])


def _nodes(program: Program) -> tuple[list[tuple[str, list[Any]]], list[Any]]:
    """The calls with their arguments, and the outputs.

    Arguments and outputs are indices of calls, ("parameter", name) or ("constant", value).
    """
    values: dict[str, Any] = {name: ("parameter", name) for name in program.parameters}
    nodes: list[tuple[str, list[Any]]] = []
    for statement in program.statements:
        args = [values[arg] if isinstance(arg, str) else ("constant", arg) for arg in statement.args]
        values[statement.target] = len(nodes)
        nodes.append((statement.function, args))
    return nodes, [values[name] for name in program.outputs]


def _part(texts: dict[Any, tuple[str, bool]], arg: Any, bracket: bool) -> str:
    if isinstance(arg, int):
        text, infix = texts[arg]
        return f"({text})" if infix and bracket else text
    kind, value = arg
    return value if kind == "parameter" else repr(float(value))
