"""Cost of learned optimizers where they are used, on few large tensors, against Adam's; prints one line of JSON."""

import json
import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark.timing import in_turn, median_ratio, medians
from experiments.optimizer.config import RULES

ADAM = "adam (optax)"
NAMES = (ADAM, "normalised", "adafactor_mlp")
LAYERS = 4


def layers(size: int, value: float) -> list[dict[str, jax.Array]]:
    """Weights and biases of LAYERS square layers, about `size` numbers in all, filled with `value`."""
    width = max(1, round((size / LAYERS) ** 0.5))
    return [{"w": jnp.full((width, width), value), "b": jnp.full((width,), value)} for _ in range(LAYERS)]


def compiled_step(name: str, size: int) -> tuple[Any, optax.GradientTransformation]:
    """A compiled step `((params, state), gradients) -> (params, state)` with donated buffers, and its optimizer."""
    if name == ADAM:
        tx = optax.with_extra_args_support(optax.adam(1e-3))
    else:
        rule = RULES[name]()
        tx = rule.as_optax(rule.init(jax.random.key(0)))

    def step(carry: Any, gradients: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    shapes = jax.eval_shape(partial(layers, size, 1.0))
    carry = jax.eval_shape(lambda params: (params, tx.init(params)), shapes)
    return jax.jit(step, donate_argnums=0).lower(carry, shapes).compile(), tx


def costs(size: int, repeats: int) -> dict[str, Any]:
    """Bytes of temporary memory per parameter, and, with repeats, seconds per step and the ratio to Adam's time."""
    number = sum(x.size for x in jax.tree.leaves(jax.eval_shape(partial(layers, size, 1.0))))
    steps = {name: compiled_step(name, size) for name in NAMES}
    temporaries = {name: step.memory_analysis().temp_size_in_bytes / number for name, (step, _) in steps.items()}
    figures: dict[str, Any] = {"parameters": number, "temporary_bytes": temporaries}
    if repeats:
        times = in_turn({name: _advancing(*step, size) for name, step in steps.items()}, repeats, warm_up=1)
        ratios = {name: median_ratio(seconds, times[ADAM]) for name, seconds in times.items()}
        figures |= {"seconds": medians(times), "ratio": ratios}
    return figures


def _advancing(step: Any, tx: optax.GradientTransformation, size: int) -> Any:
    """A function that makes one step in place."""
    params, gradients = layers(size, 1.0), layers(size, 0.5)
    carry = [(params, tx.init(params))]

    def advance() -> None:
        carry[0] = jax.block_until_ready(step(carry[0], gradients))

    return advance


if __name__ == "__main__":
    print(json.dumps(costs(**json.loads(sys.argv[1]))))
