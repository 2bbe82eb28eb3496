"""Hashes of programs by structure and by behaviour."""

import hashlib
from types import SimpleNamespace
from typing import Any

import numpy as np

from lopt.search.dataflow import prune_loop
from lopt.search.functions import FUNCTIONS
from lopt.search.program import Program, evaluator

_COMMUTATIVE = {name for name, function in FUNCTIONS.items() if function.commutative}


def canonical_hash(program: Program, digits: int = 6) -> str:
    """Structural hash of the live part of a program.

    It does not depend on names, on the order of independent statements, of extra variables or of the arguments of
    commutative functions, on dead code, or on constants beyond `digits` significant digits.

    The hash of a call is computed from its function and its arguments' hashes; an input's hash from its position. Extra
    variables are hashed by partition refinement: they all start as zero, so they start in one class, and classes are
    split by the hashes of the new values until no class can be split. Variables of one class are equal at every step.

    Paper: arXiv 2302.06675 (functional hash).
    Differs: the paper's hash depends on the order of arguments, dead extra variables and the last digit of a constant.
    """
    program = prune_loop(program)
    inputs = _inputs(program)
    calls = [
        (s.target, s.function, [arg if isinstance(arg, str) else f"{arg:.{digits}g}".encode() for arg in s.args])
        for s in program.statements
    ]
    num_classes, states = 1, [b"state"] * len(program.extras)
    while True:
        update, *after = _outputs(program, calls, inputs | dict(zip(program.extras, states, strict=True)))
        classes = sorted(set(after))
        if len(classes) <= num_classes:
            # no class was split: each has one successor
            return _digest("program", update, *(new for _, new in sorted(set(zip(states, after, strict=True))))).hex()
        num_classes, states = len(classes), [b"state %d" % classes.index(new) for new in after]


def skeleton_hash(program: Program) -> str:
    """Structural hash of a program with the values of its constants ignored.

    Two programs have equal hashes only if they differ in nothing but the values of constants and what `canonical_hash`
    ignores. Each constant is a separate placeholder, even if two have equal values. The order of commutative arguments
    that differ in their constants only is kept as written, so some programs of one skeleton have different hashes.
    """
    program = prune_loop(program)
    values: dict[str, Any] = {name: name for name in program.parameters}
    nodes: list[tuple[str, list[Any]]] = []
    shapes = {name: b"extra" for name in program.extras} | _inputs(program)
    for s in program.statements:
        args = [values[arg] if isinstance(arg, str) else None for arg in s.args]
        if s.function in _COMMUTATIVE:
            args.sort(key=lambda arg: shapes.get(arg, b"constant"))
        values[s.target] = len(nodes)
        shapes[len(nodes)] = _digest(s.function, *(shapes.get(arg, b"constant") for arg in args))
        nodes.append((s.function, args))
    return _digest(_canonical_text(program, nodes, [values[name] for name in program.outputs])).hex()


def _canonical_text(program: Program, nodes: list[tuple[str, list[Any]]], outputs: list[Any]) -> str:
    """The calls in depth-first order from the update, then from the extra variables in the order of their first use."""
    after = dict(zip(program.extras, outputs[1:], strict=True))
    numbers = {name: text.decode() for name, text in _inputs(program).items()} | {None: "constant"}
    lines: list[str] = []
    roots, num_extras = [outputs[0]], 0
    for root in roots:  # extra variables are appended when they are first used
        stack = [root]
        while stack:
            value = stack[-1]
            function, args = nodes[value] if isinstance(value, int) else ("", [])
            pending = [arg for arg in args if arg not in numbers]
            if value not in numbers and not pending:
                if function:
                    lines.append(f"{len(lines)} = {function}({', '.join(numbers[arg] for arg in args)})")
                    numbers[value] = str(len(lines) - 1)
                else:
                    numbers[value], num_extras = f"extra {num_extras}", num_extras + 1
                    roots.append(after[value])
            stack = stack[:-1] if not pending else [*stack, *reversed(pending)]
        lines.append(f"{len(lines)} returned {numbers[root]}")
    return "\n".join(lines)


def _inputs(program: Program) -> dict[Any, bytes]:
    return {name: f"input {i}".encode() for i, name in enumerate(program.inputs)} | {program.rate: b"rate"}


def _outputs(program: Program, calls: list[tuple[str, str, list[Any]]], values: dict[str, bytes]) -> list[bytes]:
    for target, function, args in calls:
        parts = [values[arg] if type(arg) is str else arg for arg in args]
        if function in _COMMUTATIVE:
            parts.sort()
        values[target] = _digest(function, *parts)
    return [values[name] for name in program.outputs]


def _digest(name: str, *parts: bytes) -> bytes:
    return hashlib.blake2b(b"(".join([name.encode(), *parts]), digest_size=12).digest()


STEPS = 10
"""Steps of each probe run."""
MIN_FINITE = 0.5
"""Smallest fraction of finite outputs for which the outputs identify a program."""

_SIZES = (40, 24)
_SCALES = np.array([[1e-6, 1e-3], [1e-3, 1e-1], [1e-2, 1.0], [1.0, 1e3]])
"""Smallest and largest scale of a weight's gradients, in each of the runs."""
_RATES = np.stack(
    [
        np.linspace(1.0, 0.0, STEPS),
        np.geomspace(1.0, 1e-4, STEPS),
        0.5 + 0.5 * np.cos(np.pi * np.arange(STEPS) / STEPS),
        np.linspace(0.0, 0.3, STEPS),
    ]
)[:, :, None]

_rng = np.random.default_rng(2302_06675)
_RUNS = len(_SCALES)
_LOW, _HIGH = np.log10(_SCALES[:, :1]), np.log10(_SCALES[:, 1:])
_GRADIENT_SCALES = [10 ** _rng.uniform(_LOW, _HIGH, (_RUNS, n)) for n in _SIZES]
for _leaf in _GRADIENT_SCALES:
    _leaf[::2, :3] = 0.0  # weights whose gradients are always zero
_GRADIENTS = [tuple([x * _rng.normal(size=x.shape) for x in _GRADIENT_SCALES]) for _ in range(STEPS)]
for _leaves in _GRADIENTS:
    for _leaf in _leaves:
        _leaf[::2] *= _rng.random(_leaf[::2].shape) < 0.9  # gradients that are zero for a step
_INITIAL_WEIGHTS = [10 ** _rng.uniform(-3, 0, x.shape) * _rng.choice([-1, 1], x.shape) for x in _GRADIENT_SCALES]
_INITIAL_WEIGHTS[0][:, ::8] = 0.0
_WEIGHTS = [tuple([x + 0.1 * np.abs(x) * _rng.normal(size=x.shape) for x in _INITIAL_WEIGHTS]) for _ in range(STEPS)]

_BATCHED_NUMPY = SimpleNamespace(**(vars(np) | {"sum": lambda x: np.add.reduce(x, -1, keepdims=True)}))
"""numpy batched over the runs: a leaf is `[runs, n]`, a scalar `[]` or `[runs, 1]`."""


def fingerprint(program: Program, digits: int = 4) -> str:
    """Hash of a program's updates, rounded to `digits` significant digits, in four probe runs of ten steps with state.

    The runs fix 64 weights in two leaves, their gradients and the learning-rate schedule; updates are not applied.
    Gradients have both signs and scales of 1e-6 to 1e-3, 1e-3 to 0.1, 0.01 to 1 and 1 to 1000; in two of the runs some
    gradients are zero for a step, or always. The schedules go from 1 to 0 and from 1 to 1e-4, follow a cosine, and rise
    from 0 to 0.3.

    Functionally equivalent programs have equal fingerprints, except where a value lies on a rounding boundary. Programs
    that differ by less than the rounding also have equal fingerprints: in rules that take signs, a change of a constant
    is detected in its third digit, but not in its fifth. Non-finite values are hashed with their positions and kinds
    (NaN, infinity, minus infinity). If fewer than half of the values are finite, the fingerprint is `canonical_hash`.

    Paper: arXiv 2003.03384 (functional equivalence checking).
    Differs: the paper hashes errors after training, not updates.
    """
    live = prune_loop(program)
    evaluate = evaluator(_BATCHED_NUMPY, live)
    extras = [tuple([np.zeros_like(x) for x in _INITIAL_WEIGHTS])] * len(live.extras)
    updates = []
    with np.errstate(all="ignore"):
        for w, g, rate in zip(_WEIGHTS, _GRADIENTS, _RATES.swapaxes(0, 1), strict=True):
            update, *extras = evaluate(dict(zip(live.parameters, (w, g, *extras, rate), strict=True)))
            updates += update
        values = np.concatenate(updates, axis=1).ravel()
        if np.isfinite(values).mean() < MIN_FINITE:
            return canonical_hash(live)
        rounded = _round(values, digits)
    return hashlib.blake2b(rounded.tobytes(), digest_size=12).hexdigest()


def _round(x: np.ndarray, digits: int) -> np.ndarray:
    """Mantissas and exponents `[2, n]`, rounded to significant digits; -0 becomes 0, and all NaN are equal."""
    size = np.where(np.isfinite(x) & (x != 0), np.abs(x), 1.0)
    exponent = np.floor(np.log10(size))
    mantissa = np.where(np.isfinite(x), np.round(x / 10.0 ** (exponent - digits + 1)), x)
    carried = np.abs(mantissa) == 10.0**digits
    mantissa, exponent = np.where(carried, mantissa / 10, mantissa), exponent + carried
    mantissa = np.where(np.isnan(mantissa), np.nan, mantissa) + 0.0
    return np.stack([mantissa, exponent])
