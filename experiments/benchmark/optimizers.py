"""Time of an optimizer's step against optax's and against memory bandwidth; prints one line of JSON.

A process measures either the times of all optimizers, in turns, or the peak memory of one.
"""

import json
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

import lopt
from experiments.benchmark.timing import in_turn, medians, peak_gib, seconds

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
    """A function `count -> None` that makes `count` steps in place.

    The step is compiled and made once before this function returns.
    """
    compiled = jax.jit(step, donate_argnums=0).lower(state, *constant).compile()
    carry = [jax.block_until_ready(compiled(state, *constant))]

    def advance(count: int) -> None:
        for _ in range(count):
            carry[0] = compiled(carry[0], *constant)
        jax.block_until_ready(carry[0])

    return advance


def steps_of(name: str, size: int) -> Advance:
    """Steps of an optimizer on `size` parameters."""
    tx = OPTIMIZERS[name]()
    params = leaves(size, 1.0)

    def step(carry: Any, gradients: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    return advancing(step, (params, tx.init(params)), leaves(size, 0.5))


def passes(size: int) -> Advance:
    """Steps that read and write, in place, as many bytes as an optimizer's step must transfer."""
    return advancing(lambda x: [leaf + 1 for leaf in x], leaves(size * BYTES // 8, 0.0))


def step_seconds(size: int, repeats: int) -> dict[str, list[float]]:
    """Seconds per step of each, `repeats` times in turns; a repetition makes enough steps to last at least 0.03 s."""
    steps = {name: steps_of(name, size) for name in OPTIMIZERS} | {"read and write": passes(size)}
    count = max(1, int(0.03 / (seconds(steps["read and write"], 3) / 3)))
    times = in_turn({name: partial(advance, count) for name, advance in steps.items()}, repeats)
    return {name: [elapsed / count for elapsed in values] for name, values in times.items()}


def times(size: int, repeats: int) -> dict[str, Any]:
    """Median times, and median and quartiles of the ratios to optax's time in the same repetition."""
    measured = step_seconds(size, repeats)
    lopt_times, optax_times = (measured[name] for name in OPTIMIZERS)
    ratios = [a / b for a, b in zip(lopt_times, optax_times, strict=True)]
    return {
        "seconds": medians(measured),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": statistics.quantiles(ratios, n=4)[::2],
        "all_seconds": measured,
    }


def peak(size: int, name: str) -> dict[str, float]:
    """Peak resident memory in GiB of this process after three steps of one optimizer."""
    steps_of(name, size)(3)
    return {"peak_gib": peak_gib()}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(peak(**job) if "name" in job else times(**job)))
