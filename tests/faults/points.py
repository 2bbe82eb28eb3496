"""A lifetime whose levels say where a non-finite number enters it, and when."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from lopt.types import Level, UpdateInfo, ValueScores

PLACES = ("level", "learner", "loss", "meta-gradient", "scores", "metrics")
"""Where a fault enters: the initial learner, an update of it, the meta-loss, its derivative alone, what level scores
read of an update, and an update's metrics."""
NONE = -1
DIMENSIONS, RATE = 3, 0.3


class Point(struct.PyTreeNode):
    """Learner state: position and age."""

    x: jax.Array
    age: jax.Array


@dataclass(frozen=True)
class FaultyPoint:
    """A point moves towards theta; the loss is half its squared distance to a target.

    `level.params` has "target", "place" (an index of `PLACES`, `NONE` for no fault) and "value", which is added at that
    place.
    """

    score_type: ClassVar[type] = ValueScores

    def init(self, key, theta, level):
        return Point(jax.random.normal(key, (DIMENSIONS,)) + _fault(level, "level"), jnp.zeros((), jnp.int32))

    def step(self, key, theta, level, state):
        active = state.age < level.num_updates
        x = state.x + RATE * (theta["x"] - state.x + 0.1 * jax.random.normal(key, state.x.shape))
        x = x + _fault(level, "learner")
        one = -jnp.abs(x).sum() + _fault(level, "scores")
        scores = ValueScores(reward=one, best_return=one, value=one, positive_advantage=-one, absolute_advantage=-one)
        info = UpdateInfo({"position": x[0] + _fault(level, "metrics")}, scores=scores)
        return Point(jnp.where(active, x, state.x), state.age + active), info

    def meta_loss(self, key, theta, level, state):
        loss = 0.5 * ((state.x - level.params["target"]) ** 2).sum() + _fault(level, "loss")
        # the value is 0; the derivative of the square root at 0 is infinite
        slope = jnp.sqrt(jnp.abs(theta["x"]).sum() * _fault(level, "meta-gradient", 0.0, 1.0))
        return loss + jnp.where(_is(level, "meta-gradient"), slope, 0.0), state, {"distance": loss}

    def age(self, state):
        return state.age


def evaluate(key, level, learner):
    """The performance of a point."""
    return -jnp.abs(learner.x - level.params["target"]).sum()


def clean(key):
    """A level without a fault, of one to four updates."""
    key_target, key_length = jax.random.split(key)
    return Level(
        params={
            "target": jax.random.normal(key_target, (DIMENSIONS,)),
            "place": jnp.int32(NONE),
            "value": jnp.float32(0),
        },
        num_updates=jax.random.randint(key_length, (), 1, 5),
    )


def with_fault(levels, place, value, rows=(1,)):
    """Levels `[N]`, possibly a tuple of several tasks', with a fault in some rows."""
    rows = np.array(rows)

    def put(params):
        place_now, value_now = params["place"], params["value"]
        fault = {"place": place_now.at[rows].set(PLACES.index(place)), "value": value_now.at[rows].set(value)}
        return params | fault

    params = tuple(map(put, levels.params)) if isinstance(levels.params, tuple) else put(levels.params)
    return levels.replace(params=params)


def _is(level, place):
    return level.params["place"] == PLACES.index(place)


def _fault(level, place, value=None, other=0.0):
    """The level's value, or `value`, if its fault is at `place`; else `other`."""
    return jnp.where(_is(level, place), level.params["value"] if value is None else value, other)
