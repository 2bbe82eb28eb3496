"""Meta-steps on one device and on eight; a separate program, because the number of devices is set before JAX starts.

Prints a JSON object: the largest differences between the two runs, and the numbers of devices that hold the state.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lopt.curriculum import DomainRandomisation, PositiveValueLoss, Replay, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import LPGRegulariser
from lopt.tasks import SequenceLevels
from lopt.types import Level
from tests.reference import in_context
from tests.reference.bandit import Bandit
from tests.reference.lifetimes import random_theta, rl_lifetime
from tests.reference.pair import level

N, STEPS = 8, 4
PER_LIFETIME = ("estimator_state", "scores", "assignment")


class Size:
    """A score: the largest squared norm of the logits in the lifetime, plus noise."""

    def init(self, key, level):
        return jnp.zeros(())

    def advance(self, key, level, state, updates):
        return jnp.maximum(state, updates.max())

    def score(self, key, level, learner, state):
        return state + jax.random.normal(key)


def of_bandits():
    """`(learner, theta)` for bandits, which are cheap to compile."""

    def generator(key):
        key_reward, key_lifetime = jax.random.split(key)
        lifetime = jax.random.randint(key_lifetime, (), 1, 4, jnp.int32)
        return Level({"reward": jax.random.normal(key_reward, (3,))}, lifetime)

    return learner(Bandit(), generator, Size()), {"value": jnp.array([0.5, -1.0, 0.8])}


def of_agents():
    """`(learner, theta)` for agents trained by LPG."""

    def generator(key):
        key_reward, key_lifetime = jax.random.split(key)
        lifetime = jax.random.randint(key_lifetime, (), 1, 4, jnp.int32)
        params = level().params.replace(reward=jax.random.normal(key_reward, (2, 2)))
        return Level(params, lifetime)

    agents = rl_lifetime(regulariser=LPGRegulariser())
    return learner(agents, generator, PositiveValueLoss()), random_theta(agents.objective)


def of_contexts():
    """`(learner, theta)` for in-context learners, whose tasks are generated from their seeds in every step."""
    lifetime = in_context.lifetime()
    meta_learner = MetaLearner(
        estimator=MetaGradient(lifetime=lifetime, num_updates=1, remat=False),
        curriculum=DomainRandomisation(SequenceLevels(lifetime.task)),
        score=Uniform(),
        optimizer=optax.adam(1e-2),
        num_lifetimes=N,
        stagger=False,
        pack=N,
    )
    return meta_learner, jax.jit(lifetime.model.init)(jax.random.key(2))


def learner(lifetime, generator, score):
    curriculum = Replay(generator=generator, capacity=2 * N, minimum_fill=2)
    return MetaLearner(
        estimator=MetaGradient(lifetime=lifetime, num_updates=1),
        curriculum=curriculum,
        score=score,
        optimizer=optax.adam(1e-2),
        num_lifetimes=N,
    )


def run(step, state):
    """The last state, and the metrics `[STEPS]`."""
    history = []
    for i in range(STEPS):
        state, metrics = step(jax.random.fold_in(jax.random.key(1), i), state)
        history.append(metrics)
    return state, jax.tree.map(lambda *xs: np.stack(xs), *history)


def difference(a, b):
    """The largest |a - b| / (1 + |a|) over all leaves."""
    pairs = zip(*(map(np.float64, jax.tree.leaves(t)) for t in (a, b)), strict=True)
    differences = [np.abs(np.nan_to_num(x) - np.nan_to_num(y)) / (1 + np.abs(np.nan_to_num(x))) for x, y in pairs]
    return max(float(x.max()) for x in differences if x.size)


def main(parts):
    learner, theta = parts()
    initial = jax.jit(learner.init)(jax.random.key(0), theta)
    step = jax.jit(learner.step)
    one, one_metrics = run(step, initial)
    mesh = jax.make_mesh((jax.device_count(),), ("lifetimes",), axis_types=(AxisType.Auto,))
    replicated, sharded = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("lifetimes"))
    placed = {
        name: jax.device_put(getattr(initial, name), sharded if name in PER_LIFETIME else replicated)
        for name in initial.__dataclass_fields__
    }
    eight, eight_metrics = run(step, initial.replace(**placed))
    report = {
        "devices": jax.device_count(),
        "state": difference(one, eight),
        "metrics": difference(one_metrics, eight_metrics),
        "moved": difference(initial.theta, one.theta),
        "finished": int(one_metrics["finished"].sum()),
        "lifetimes on": len(jax.tree.leaves(eight.estimator_state)[0].sharding.device_set),
        "levels on": sorted({len(x.sharding.device_set) for x in jax.tree.leaves(eight.assignment)}),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main({"bandits": of_bandits, "agents": of_agents, "contexts": of_contexts}[sys.argv[1]])
