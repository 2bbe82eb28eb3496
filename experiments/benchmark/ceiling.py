"""What the machine itself can do: the floor under every other figure."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[..., Any], *args: Any, repeats: int = 7) -> float:
    """Median seconds of a jitted call, after two that are not counted."""
    for _ in range(2):
        jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_gflops(rows: int = 4096, inner: int = 256, columns: int = 768) -> float:
    """Best of the three float32 products of a GRU step (forward, back to the state, to the weights), in GFLOP/s."""
    key_a, key_b, key_c = jax.random.split(jax.random.key(0), 3)
    state = jax.random.normal(key_a, (rows, inner))
    weights = jax.random.normal(key_b, (inner, columns))
    gates = jax.random.normal(key_c, (rows, columns))
    products = (
        seconds(jax.jit(jnp.matmul), state, weights),
        seconds(jax.jit(lambda g, w: g @ w.T), gates, weights),
        seconds(jax.jit(lambda s, g: s.T @ g), state, gates),
    )
    return 2 * rows * inner * columns / min(products) / 1e9


def tanh_nanoseconds(elements: int = 2**20) -> float:
    """Nanoseconds per element of tanh."""
    return seconds(jax.jit(jnp.tanh), jnp.linspace(-3, 3, elements)) / elements * 1e9


def gru_floor_seconds(transitions: int, hidden: int, gflops: float, tanh_ns: float) -> tuple[float, float]:
    """Seconds that a GRU's products (forward, and twice that backward) and its three gates need at the ceilings."""
    products = 3 * 2 * transitions * hidden * 3 * hidden / (gflops * 1e9)
    gates = transitions * 3 * hidden * tanh_ns * 1e-9
    return products, gates
