"""Random well-typed programs, and their execution in numpy with optional rounding noise."""

from collections.abc import Sequence

import numpy as np

from lopt.search import FUNCTIONS, Program, Statement, Type

SIGNATURES = [(name, types) for name, f in FUNCTIONS.items() for types in f.signatures]


def random_program(rng: np.random.Generator, length: int, extras: int = 2) -> Program:
    """A random valid program, uniform over the signatures of all functions that have arguments of their types."""
    names = tuple(f"v{i}" for i in range(extras))
    bound = dict.fromkeys(("w", "g", *names), Type.T) | {"lr": Type.S}
    statements = []
    while len(statements) < length:
        name, types = SIGNATURES[rng.integers(len(SIGNATURES))]
        args: list[str | float] = []
        for type_ in types:
            variables = [n for n, t in bound.items() if t == type_]
            if type_ == Type.S and rng.random() < 0.5:
                args.append(round(float(rng.normal()), 3))
            elif variables:
                args.append(variables[rng.integers(len(variables))])
        if len(args) == len(types):
            result = FUNCTIONS[name].signatures[types]
            reassigned = [n for n, t in bound.items() if t == result and rng.random() < 0.2]
            target = reassigned[0] if reassigned else f"x{len(statements)}"
            bound[target] = result
            statements.append(Statement(target, name, tuple(args)))
    trees = [n for n, t in bound.items() if t == Type.T]
    latest = trees[-3:]
    return Program(names, tuple(statements), tuple(latest[rng.integers(len(latest))] for _ in range(1 + extras)))


def run_program(
    program: Program,
    w: Sequence[np.ndarray],
    gradients: Sequence[Sequence[np.ndarray]],
    rate: float,
    noise: np.random.Generator | None = None,
) -> tuple[np.ndarray, bool]:
    """Execute a program for several steps in numpy.

    If `noise` is given, each statement's value is multiplied by 1 + a few rounding errors. Results that change under
    this noise may also differ between processors.

    Returns:
        Weights and extra variables after each step, `[steps, 1 + extras, P]`, and whether all values are far from the
        smallest and largest numbers of the type, which processors treat differently.
    """
    dtype = w[0].dtype
    extras = [tuple(np.zeros_like(x) for x in w) for _ in program.extras]
    w, path, in_range = tuple(w), [], True
    limits = np.finfo(dtype).tiny * 1e4, np.finfo(dtype).max / 1e4
    for g in gradients:
        values = dict(zip(program.parameters, (w, tuple(g), *extras, dtype.type(rate)), strict=True))
        for statement in program.statements:
            args = [values[a] if isinstance(a, str) else dtype.type(a) for a in statement.args]
            with np.errstate(all="ignore"):
                value = FUNCTIONS[statement.function].evaluate(np, *args)
            leaves = value if type(value) is tuple else (value,)
            if noise is not None:
                leaves = tuple(_add_noise(noise, x, dtype) for x in leaves)
            size = np.abs(np.concatenate([np.ravel(x) for x in leaves]))
            in_range &= not np.any(np.isfinite(size) & (size != 0) & ((size < limits[0]) | (size > limits[1])))
            leaves = tuple(np.asarray(x, dtype) for x in leaves)
            values[statement.target] = leaves if type(value) is tuple else leaves[0]
        update, *extras = (values[name] for name in program.outputs)
        with np.errstate(all="ignore"):
            w = tuple(a - b for a, b in zip(w, update, strict=True))
        path.append(np.stack([np.concatenate([np.ravel(x) for x in tree]) for tree in (w, *extras)]))
    return np.array(path), in_range


def _add_noise(noise: np.random.Generator, x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.asarray(x * (1 + 2 * np.finfo(dtype).eps * noise.standard_normal(np.shape(x))), dtype)
