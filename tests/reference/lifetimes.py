"""Small RL lifetimes with all parts, for the tests."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lopt.agents import (
    DiscoLifetime,
    LearnedOptimizerLifetime,
    MinibatchEpochs,
    NormaliseObservations,
    PPOLifetime,
    RLLifetime,
    ScaleRewards,
    TrainableNet,
    TrainableTable,
    ValueBaseline,
    linear_annealing,
)
from lopt.nets import MLP, GaussianPolicy, Tabular
from lopt.objectives import A2C, LPG, PPO, DiscoRegulariser
from lopt.optimizers import OpenRule
from tests.reference.aim import Aim
from tests.reference.disco import small_rule
from tests.reference.pair import Pair

T, B = 4, 3


def table(rate=0.5, max_norm=1.0):
    """Factory of trainable tables with two rows."""
    return partial(TrainableTable, num_states=2, learning_rate=rate, max_norm=max_norm)


def networks(optimizer, **options):
    """Factory of trainable networks with one hidden layer; `options` are of `MLP`."""
    return partial(TrainableNet, net=partial(MLP, (3,), **options), optimizer=optimizer)


def lion():
    """Factory of trainable networks with an optimizer that needs the parameters."""
    return networks(optax.lion(1e-2, weight_decay=0.1))


def lpg(**changes):
    """A small LPG."""
    return LPG(**({"prediction_size": 2, "hidden": 4, "embedding": 3} | changes))


def rl_lifetime(objective=None, factory=None, **changes):
    """A small `RLLifetime` on `Pair`, with LPG and tables unless given."""
    factory = factory or table()
    settings = {"num_envs": B, "rollout_length": T, "baseline": ValueBaseline(critic=factory(features=1), gamma=0.9)}
    return RLLifetime(
        env=Pair(), objective=objective or lpg(), policy=factory, prediction=factory, **(settings | changes)
    )


def disco(rule=None, **changes):
    """A small `DiscoLifetime` on `Pair`; SGD, as Adam's first steps amplify roundings of gradients near zero."""
    settings = {
        "env": Pair(),
        "rule": rule or small_rule(),
        "torso": Tabular(2, 3),
        "optimizer": optax.sgd(0.5),
        "state_size": 4,
        "hidden": 3,
        "num_envs": B,
        "rollout_length": T,
        "baseline": ValueBaseline(critic=table()(features=1), gamma=0.9),
        "regulariser": DiscoRegulariser(),
    }
    return DiscoLifetime(**(settings | changes))


def ppo(objective=None, **changes):
    """A small `PPOLifetime` on `Pair`, with PPO unless given."""
    settings = {
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
    return PPOLifetime(objective=objective or PPO(), **(settings | changes))


def ppo_on_aim(objective=None, **changes):
    """`ppo` with real actions, networks, an optimizer that needs the parameters, and normalised inputs and rewards."""
    settings = {
        "env": Aim(),
        "policy": partial(GaussianPolicy, partial(MLP, (3,))),
        "prediction": partial(MLP, (3,)),
        "optimizer": optax.lion(1e-1, weight_decay=0.1),
        "anneal": linear_annealing,
        "observations": NormaliseObservations(),
        "rewards": ScaleRewards(gamma=0.9),
    }
    return ppo(objective, **(settings | changes))


def ppo_networks(optimizer, **changes):
    """`ppo` with networks of one hidden layer of tanh."""
    net = partial(MLP, (3,), activation=jnp.tanh)
    return ppo(policy=net, prediction=net, optimizer=optimizer, **changes)


OPEN = OpenRule(recurrent=2, width=3, step_size=0.1, exponent=0.1)


def by_open(**changes):
    """`ppo_networks` with a small OPEN behind gradient clipping as the learned optimizer."""

    def make(tx):
        return ppo_networks(optax.chain(optax.clip_by_global_norm(0.5), tx), **changes)

    return LearnedOptimizerLifetime(rule=OPEN, make=make)


def a2c():
    """A small A2C lifetime whose value baseline converges within some hundred updates."""
    return rl_lifetime(A2C(), baseline=ValueBaseline(critic=table(0.5, 100.0)(features=1), gamma=0.5))


def random_theta(rule, seed=0, dtype=np.float32):
    """Random non-zero meta-parameters, without compiling their initialisers."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(rule.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(0, 0.4, x.shape).astype(dtype), shapes)
