"""A rule file with a complete card, as the rules that come with lopt have it, and golden outputs: a few outputs of a
loaded rule on fixed inputs, to check that another machine or version computes the same rule.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lopt.incontext import Classifier
from lopt.rules.load import load
from lopt.rules.loaded import LoadedDrift, LoadedObjective, LoadedOptimizer
from lopt.rules.parts import CLASSIFIER, PROGRAM, card_of, rebuild
from lopt.rules.rule import Card, load_rule, save_rule
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


REQUIRED = ("purpose", "status", "trained_on", "commit", "hours", "hardware", "results", "limits", "licence", "golden")
"""Fields that the card of a shipped rule has, besides its kind; `command` where a command trained it."""


def ship(source: str | Path, target: str | Path, **fields: Any) -> Path:
    """Write a rule file again with a complete card and its golden outputs; into `lopt/rules/shipped`, it is registered.

    Example:
        lopt.rules.ship("runs/lpo/rule", "lopt/rules/shipped/lpo-cartpole", purpose="...", limits=("...",), ...)

    Args:
        source: the rule file of a run.
        target: the new file; its name is what `lopt.load` takes.
        **fields: fields of the card (`Card`), which replace those of `source`.

    Returns:
        The path of the card.

    Raises:
        ValueError: fields that are missing or that a card does not have, results without a headline's interval, or a
            rule that cannot be loaded.
    """
    if unknown := sorted(set(fields) - set(Card.__dataclass_fields__)):
        raise ValueError(f"ship: a card has no {', '.join(unknown)}")
    rule = load_rule(source)
    own = rule.card
    if own.kind not in (PROGRAM, CLASSIFIER):  # under the names of this version
        described = card_of(rebuild(own))
        own = replace(own, kind=described.kind, config=described.config)
    golden = tuple(round(float(x), 7) for x in probe(load(source)))
    card = replace(own, **{**fields, "golden": golden})
    check_complete(card)
    return save_rule(target, rule.theta, card)


def check_complete(card: Card) -> None:
    """Check that a card says all that the card of a shipped rule must say.

    Raises:
        ValueError: a field is missing, or the headline result has no interval.
    """
    if missing := [name for name in REQUIRED if getattr(card, name) in ("", (), None)]:
        raise ValueError(f"ship: the card of a shipped rule must have {', '.join(missing)}")
    if card.results[0].low is None:
        raise ValueError(f"ship: the first result is the headline and must have an interval (got {card.results[0]!r})")
