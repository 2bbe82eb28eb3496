"""A few outputs of a loaded rule on fixed inputs, to check that another machine or version computes the same rule."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.incontext import Classifier
from lopt.rules.loaded import LoadedDrift, LoadedObjective, LoadedOptimizer
from lopt.types import AgentOutput, Progress, Trajectory

STEPS = 3
"""Updates of an optimizer."""


def probe(loaded: Any) -> np.ndarray:
    """Outputs `[k]` of what `lopt.load` returns, on inputs that are the same everywhere.

    Of an optimizer: a matrix and a vector after three updates on a quadratic. Of a drift: its values on a grid of log r
    and A, in the fourth of ten updates. Of an objective: its targets for one trajectory, and the loss. Of an in-context
    learner: the probabilities of two queries.

    Raises:
        ValueError: another object.
    """
    if isinstance(loaded, LoadedOptimizer):
        values: Any = _optimizer(loaded)
    elif isinstance(loaded, LoadedDrift):
        log_ratio, advantage = np.meshgrid(np.linspace(-0.6, 0.6, 5), [-1.5, -0.5, 0.5, 1.5])
        r, a = (jnp.asarray(x.ravel(), jnp.float32) for x in (log_ratio, advantage))
        values = loaded(r, a, _progress())
    elif isinstance(loaded, LoadedObjective):
        values = _objective(loaded)
    elif isinstance(loaded, Classifier):
        xs, query = _numbers(8, 6), _numbers(10, 6)[8:]
        values = loaded.predict(xs, np.arange(8) % 2, query, draws=2)
    else:
        raise ValueError(f"probe: expected what lopt.load returns (got {type(loaded).__name__})")
    return np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(values)])


def _progress() -> Progress:
    return Progress(step=jnp.int32(3), num_updates=jnp.int32(10))


def _numbers(*shape: int) -> np.ndarray:
    """Fixed numbers in [-1, 1]."""
    return np.sin(1.7 * np.arange(1, 1 + np.prod(shape), dtype=np.float64)).reshape(shape).astype(np.float32)


def _optimizer(loaded: LoadedOptimizer) -> Any:
    params: Any = {"w": jnp.asarray(_numbers(3, 2)), "b": jnp.asarray(_numbers(2) + 1)}
    state = loaded.init(params)
    for step in range(STEPS):
        gradients = jax.tree.map(lambda x: x - 0.3, params)
        extra = {
            "progress": Progress(step=jnp.int32(step), num_updates=jnp.int32(STEPS)),
            "value": jnp.float32(0.5),
            "layer_position": {"w": 0.0, "b": 1.0},
        }
        updates, state = loaded.update(gradients, state, params, **extra)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def _objective(loaded: LoadedObjective) -> Any:
    time, batch, actions = 4, 2, 3
    size = loaded.rule.prediction_size
    action = jnp.asarray(np.arange(time * batch).reshape(time, batch) % actions, jnp.int32)
    last = jnp.zeros((time, batch), bool).at[1, 0].set(True)
    obs = jnp.zeros((time, batch))
    traj = Trajectory(
        obs=obs,
        action=action,
        reward=jnp.asarray(_numbers(time, batch)),
        discount=jnp.where(last, 0.0, 1.0),
        truncated=jnp.zeros((time, batch), bool),
        next_obs=obs,
    )
    out, out_next = (
        AgentOutput(
            policy=jnp.asarray(scale * _numbers(time, batch, actions)),
            prediction=jnp.asarray(scale * _numbers(time, batch, size)),
        )
        for scale in (1.0, 0.5)
    )
    targets = loaded.rule.targets(loaded.theta, traj, out, out_next, _progress())
    return targets, loaded.rule.loss(loaded.theta, out, traj, targets, _progress())[0]
