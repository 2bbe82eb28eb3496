"""Peak rates of the machine, from which lower bounds (floors) on run times are computed."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[..., Any], *args: Any, repeats: int = 7) -> float:
    """Median seconds of a jitted call, after two warm-up calls."""
    for _ in range(2):
        jax.block_until_ready(function(*args))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*args))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def matmul_gflops(rows: int = 4096, inner: int = 256, columns: int = 768) -> float:
    """GFLOP/s of the fastest of a GRU step's float32 products: forward, gradient in the state, gradient in the weights.

    Args:
        rows: batch size.
        inner: width of the state.
        columns: width of the gates.
    """
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
    """Nanoseconds per element of a float32 tanh."""
    return seconds(jax.jit(jnp.tanh), jnp.linspace(-3, 3, elements)) / elements * 1e9


def gru_floor_seconds(transitions: int, hidden: int, gflops: float, tanh_ns: float) -> tuple[float, float]:
    """Floors in seconds for a GRU's products (forward, and twice that backward) and for its three gates.

    Args:
        transitions: number of inputs that the GRU processes.
        hidden: width of its state.
        gflops: rate of products in GFLOP/s.
        tanh_ns: nanoseconds per element of a gate.
    """
    products = 3 * 2 * transitions * hidden * 3 * hidden / (gflops * 1e9)
    gates = transitions * 3 * hidden * tanh_ns * 1e-9
    return products, gates
