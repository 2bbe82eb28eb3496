"""Timing of functions, peak memory, and peak rates of the machine, from which floors of run times are computed."""

import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def seconds(function: Callable[..., Any], *args: Any) -> float:
    """Seconds of one call, until its result is computed."""
    start = time.perf_counter()
    jax.block_until_ready(function(*args))
    return time.perf_counter() - start


def in_turn(functions: dict[str, Callable[[], Any]], repeats: int, warm_up: int = 0) -> dict[str, list[float]]:
    """Seconds of each function's calls, after `warm_up` rounds; the functions take turns in a rotating order."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    order = list(functions)
    for i in range(repeats + warm_up):
        for name in order:
            elapsed = seconds(functions[name])
            if i >= warm_up:
                times[name].append(elapsed)
        order.append(order.pop(0))
    return times


def medians(times: dict[str, list[float]]) -> dict[str, float]:
    """Median seconds by name."""
    return {name: statistics.median(values) for name, values in times.items()}


def median_ratio(numerators: list[float], denominators: list[float]) -> float:
    """The median of the ratios of two functions' times in the same rounds."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))


def peak_gib() -> float:
    """Peak resident memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def median_seconds(function: Callable[..., Any], *args: Any, repeats: int = 7) -> float:
    """Median seconds of a jitted call, after two warm-up calls."""
    return medians(in_turn({"call": partial(function, *args)}, repeats, warm_up=2))["call"]


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
        median_seconds(jax.jit(jnp.matmul), state, weights),
        median_seconds(jax.jit(lambda g, w: g @ w.T), gates, weights),
        median_seconds(jax.jit(lambda s, g: s.T @ g), state, gates),
    )
    return 2 * rows * inner * columns / min(products) / 1e9


def tanh_nanoseconds(elements: int = 2**20) -> float:
    """Nanoseconds per element of a float32 tanh."""
    return median_seconds(jax.jit(jnp.tanh), jnp.linspace(-3, 3, elements)) / elements * 1e9


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
