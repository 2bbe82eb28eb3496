"""Repeating a keyed step, the one loop that lives inside jit."""

from collections.abc import Callable
from typing import Any

import jax

from lopt.types import Key


def unroll(
    step: Callable[[Key, Any], tuple[Any, Any]], key: Key, state: Any, num_steps: int, *, remat: bool = False
) -> tuple[Any, Any]:
    """`num_steps` times `state, out = step(key_i, state)`; returns the last state and the stacked outputs.

    With `remat` only the carried state, and what `step` marks by `checkpoint_name(x, "keep")`, is stored for the
    backward pass: memory is one step's, at the price of one more forward pass.
    """

    def body(carry, key):
        return step(key, carry)

    if remat:
        keep = jax.checkpoint_policies.save_only_these_names("keep")
        body = jax.checkpoint(body, policy=keep, prevent_cse=False)
    return jax.lax.scan(body, state, jax.random.split(key, num_steps))
