"""Repeated application of a keyed step function, as one scan."""

from collections.abc import Callable
from typing import Any

import jax

from lopt.types import Key


def unroll(
    step: Callable[[Key, Any], tuple[Any, Any]], key: Key, state: Any, num_steps: int, *, remat: bool = False
) -> tuple[Any, Any]:
    """Apply `state, out = step(key_i, state)` `num_steps` times.

    Args:
        step: function from a key and the state to the new state and an output.
        key: split into one key per step.
        state: initial state.
        num_steps: number of steps.
        remat: recompute each step in the backward pass. Only the carried state, and what `step` marks by
            `checkpoint_name(x, "keep")`, is stored; this costs one more forward pass.

    Returns:
        The last state, and the outputs `[num_steps, ...]`.
    """

    def body(carry, key):
        return step(key, carry)

    if remat:
        keep = jax.checkpoint_policies.save_only_these_names("keep")
        body = jax.checkpoint(body, policy=keep, prevent_cse=False)
    return jax.lax.scan(body, state, jax.random.split(key, num_steps))
