"""An optimizer's step beside optax's and beside the memory's own speed; prints one line of JSON.

A process measures either the times of all, in turn, or the peak memory of one.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lopt

LEAVES = 10
BYTES = 20  # per parameter: read the parameter, the momentum and the gradient, write the first two
OPTIMIZERS: dict[str, Callable[[], optax.GradientTransformation]] = {
    "lopt.lion": lambda: lopt.lion(1e-4, weight_decay=0.1),
    "optax.lion": lambda: optax.lion(1e-4, weight_decay=0.1),
}
Advance = Callable[[int], None]


def leaves(size: int, value: float) -> list[jax.Array]:
    """`size` numbers in LEAVES equal parts."""
    return [jnp.full((size // LEAVES,), value) for _ in range(LEAVES)]


def advancing(step: Callable[..., Any], state: Any, *constant: Any) -> Advance:
    """A function that takes that many steps in place; the first has been compiled and taken."""
    compiled = jax.jit(step, donate_argnums=0).lower(state, *constant).compile()
    carry = [jax.block_until_ready(compiled(state, *constant))]

    def advance(count: int) -> None:
        for _ in range(count):
            carry[0] = compiled(carry[0], *constant)
        jax.block_until_ready(carry[0])

    return advance


def steps_of(name: str, size: int) -> Advance:
    """Steps of an optimizer on that many parameters."""
    tx = OPTIMIZERS[name]()
    params = leaves(size, 1.0)

    def step(carry: Any, gradients: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return advancing(step, (params, tx.init(params)), leaves(size, 0.5))


def passes(size: int) -> Advance:
    """Passes that read and write, once and in place, as many bytes as a step has to move."""
    return advancing(lambda x: [leaf + 1 for leaf in x], leaves(size * BYTES // 8, 0.0))


def in_turn(size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds per step of each, `repeats` times; every repetition lasts some hundredths of a second at least."""
    contenders = {name: steps_of(name, size) for name in OPTIMIZERS} | {"read and write": passes(size)}
    start = time.perf_counter()
    contenders["read and write"](3)
    count = max(1, int(0.03 / ((time.perf_counter() - start) / 3)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for _ in range(repeats):
        for name in order:
            start = time.perf_counter()
            contenders[name](count)
            times[name].append((time.perf_counter() - start) / count)
        order.append(order.pop(0))  # nobody always goes first
    return times


def times(size: int, repeats: int) -> dict[str, Any]:
    """Medians, and the median of the ratios to optax's time in the same repetition."""
    measured = in_turn(size, repeats)
    ours, theirs = (measured[name] for name in OPTIMIZERS)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "seconds": {name: statistics.median(values) for name, values in measured.items()},
        "ratio": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "all_seconds": measured,
    }


def peak(size: int, name: str) -> dict[str, float]:
    """Peak resident memory of a process that takes some steps, in GiB."""
    steps_of(name, size)(3)
    return {"peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(peak(**job) if "name" in job else times(**job)))
