"""The smallest RL lifetimes that have every part."""

from functools import partial

import jax
import numpy as np
import optax

from lopt.agents import NetHead, RLLifetime, TableHead, ValueBaseline
from lopt.nets import MLP
from lopt.objectives import A2C, LPG
from tests.reference.pair import Pair

T, B = 4, 3


def table(rate=0.5, max_norm=1.0):
    """Factory of heads that are tables."""
    return partial(TableHead, 2, rate, max_norm)


def lion():
    """Factory of heads that are networks, moved by an optimizer that asks for the parameters."""
    return partial(NetHead, partial(MLP, (3,)), optax.lion(1e-2, weight_decay=0.1))


def lpg(**changes):
    """A tiny rule."""
    return LPG(**({"prediction_size": 2, "hidden": 4, "embedding": 3} | changes))


def life(objective=None, head=None, **changes):
    """A tiny life on `Pair`."""
    head = head or table()
    parts = {"num_envs": B, "rollout_length": T, "baseline": ValueBaseline(head(1), gamma=0.9)}
    return RLLifetime(Pair(), objective or lpg(), head, head, **(parts | changes))


def a2c():
    """A life by A2C whose baseline learns fast enough to be watched."""
    return life(A2C(), baseline=ValueBaseline(table(0.5, 100.0)(1), gamma=0.5))


def random_theta(rule, seed=0, dtype=np.float32):
    """Meta-parameters none of which is zero, without compiling their initialisers."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(dtype), shapes)
