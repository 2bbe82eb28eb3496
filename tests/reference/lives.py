"""The smallest RL lifetimes that have every part."""

from functools import partial

import jax
import numpy as np
import optax

from lopt.agents import (
    MinibatchEpochs,
    NetHead,
    NormaliseObservations,
    PPOLifetime,
    RLLifetime,
    ScaleRewards,
    TableHead,
    ValueBaseline,
    linear_annealing,
)
from lopt.nets import MLP, GaussianPolicy, Tabular
from lopt.objectives import A2C, LPG, PPO
from tests.reference.aim import Aim
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


def ppo(objective=None, **changes):
    """A tiny life of epochs on `Pair`, by PPO."""
    parts = {
        "env": Pair(),
        "policy": partial(Tabular, 2),
        "prediction": partial(Tabular, 2),
        "optimizer": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(1.0)),
        "num_envs": B,
        "rollout_length": T,
        "epochs": MinibatchEpochs(3, 2),
        "eval_episodes": 20,
        "eval_steps": 10,
    }
    return PPOLifetime(objective=objective or PPO(), **(parts | changes))


def ppo_on_aim(objective=None, **changes):
    """The same with real actions, networks, an optimizer that asks for the parameters, and everything normalised."""
    parts = {
        "env": Aim(),
        "policy": partial(GaussianPolicy, partial(MLP, (3,))),
        "prediction": partial(MLP, (3,)),
        "optimizer": optax.lion(1e-1, weight_decay=0.1),
        "anneal": linear_annealing,
        "observations": NormaliseObservations(),
        "rewards": ScaleRewards(0.9),
    }
    return ppo(objective, **(parts | changes))


def a2c():
    """A life by A2C whose baseline learns fast enough to be watched."""
    return life(A2C(), baseline=ValueBaseline(table(0.5, 100.0)(1), gamma=0.5))


def random_theta(rule, seed=0, dtype=np.float32):
    """Meta-parameters none of which is zero, without compiling their initialisers."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(dtype), shapes)
