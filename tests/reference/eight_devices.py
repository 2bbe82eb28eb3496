"""Meta-steps on one device and on eight: a program of its own, for the number of devices is set before JAX starts.

Prints a JSON object: the greatest differences between the two runs, and where the state ended up.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lopt.curriculum import DomainRandomisation, PositiveValueLoss, Replay, Uniform
from lopt.meta import MetaGradient, MetaLearner, no_penalty
from lopt.objectives import LPGPenalty
from lopt.tasks import SequenceLevels
from lopt.types import Level
from tests.reference import in_context
from tests.reference.bandit import Bandit
from tests.reference.lives import life, random_theta
from tests.reference.pair import level

N, STEPS = 8, 4
PER_LIFETIME = ("lifetimes", "scores", "assignment")


class Size:
    """How large the logits have become; with it goes the greatest so far."""

    def init(self, key, level):
        return jnp.zeros(())

    def advance(self, key, level, state, metrics):
        return jnp.maximum(state, metrics["size"].max())

    def score(self, key, level, learner, state):
        return state + jax.random.normal(key)


def of_bandits():
    """`(learner, theta)` for lifetimes that are cheap to compile."""

    def generator(key):
        key_reward, key_life = jax.random.split(key)
        lifetime = jax.random.randint(key_life, (), 1, 4, jnp.int32)
        return Level({"reward": jax.random.normal(key_reward, (3,))}, lifetime)

    return learner(Bandit(), no_penalty, generator, Size()), {"value": jnp.array([0.5, -1.0, 0.8])}


def of_agents():
    """`(learner, theta)` for LPG."""

    def generator(key):
        key_reward, key_life = jax.random.split(key)
        lifetime = jax.random.randint(key_life, (), 1, 4, jnp.int32)
        params = level().params.replace(reward=jax.random.normal(key_reward, (2, 2)))
        return Level(params, lifetime)

    agents = life()
    return learner(agents, LPGPenalty(), generator, PositiveValueLoss()), random_theta(agents.objective)


def of_contexts():
    """`(learner, theta)` for in-context learners, whose tasks are regenerated from their seeds in every step."""
    life = in_context.lifetime()
    rounds = MetaLearner(
        MetaGradient(life, 1, remat=False),
        DomainRandomisation(SequenceLevels(life.task)),
        Uniform(),
        optax.adam(1e-2),
        N,
        stagger=False,
        pack=N,
    )
    return rounds, jax.jit(life.model.init)(jax.random.key(2))


def learner(lifetime, penalty, generator, score):
    curriculum = Replay(generator=generator, capacity=2 * N, minimum_fill=2)
    return MetaLearner(MetaGradient(lifetime, 1, penalty), curriculum, score, optax.adam(1e-2), N)


def run(step, state):
    """The last state, and the metrics `[STEPS]`."""
    history = []
    for i in range(STEPS):
        state, metrics = step(jax.random.fold_in(jax.random.key(1), i), state)
        history.append(metrics)
    return state, jax.tree.map(lambda *xs: np.stack(xs), *history)


def difference(a, b):
    """The greatest, relative to one and to the number's size."""
    pairs = zip(*(map(np.float64, jax.tree.leaves(t)) for t in (a, b)), strict=True)
    apart = [np.abs(np.nan_to_num(x) - np.nan_to_num(y)) / (1 + np.abs(np.nan_to_num(x))) for x, y in pairs]
    return max(float(x.max()) for x in apart if x.size)


def main(parts):
    learner, theta = parts()
    start = jax.jit(learner.init)(jax.random.key(0), theta)
    step = jax.jit(learner.step)
    one, one_metrics = run(step, start)
    mesh = jax.make_mesh((jax.device_count(),), ("lifetimes",), axis_types=(AxisType.Auto,))
    everywhere, shared = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("lifetimes"))
    placed = {
        name: jax.device_put(getattr(start, name), shared if name in PER_LIFETIME else everywhere)
        for name in start.__dataclass_fields__
    }
    many, many_metrics = run(step, start.replace(**placed))
    report = {
        "devices": jax.device_count(),
        "state": difference(one, many),
        "metrics": difference(one_metrics, many_metrics),
        "moved": difference(start.theta, one.theta),
        "finished": int(one_metrics["finished"].sum()),
        "lifetimes on": len(jax.tree.leaves(many.lifetimes)[0].sharding.device_set),
        "levels on": sorted({len(x.sharding.device_set) for x in jax.tree.leaves(many.assignment)}),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main({"bandits": of_bandits, "agents": of_agents, "contexts": of_contexts}[sys.argv[1]])
