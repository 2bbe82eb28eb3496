"""Learned optimizers: a step beside Adam's, and meta-training in inner steps per second; prints one line of JSON."""

import dataclasses
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark.optimizers import Advance, advancing
from experiments.common.compiling import often
from experiments.learned_optimizer.build import Study, build
from experiments.learned_optimizer.config import StudyConfig
from experiments.learned_optimizer.names import RULES, TASKS
from lopt.optimizers import Designed
from lopt.tasks import SupervisedLifetime

WIDTH = 100  # of the layers whose parameters are moved


def layers(size: int, value: float) -> list[dict[str, jax.Array]]:
    """About `size` numbers as weights and biases of layers."""
    count = max(1, round(size / (WIDTH * (WIDTH + 1))))
    return [{"w": jnp.full((WIDTH, WIDTH), value), "b": jnp.full((WIDTH,), value)} for _ in range(count)]


def steps_of(name: str, size: int) -> Advance:
    """Steps of Adam, or of a learned optimizer as it is born."""
    params = layers(size, 1.0)
    tx = optax.with_extra_args_support(optax.adam(1e-3) if name == "adam (optax)" else _born(name))

    def step(carry: Any, gradients: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients, state, params, value=jnp.float32(1.0))
        return optax.apply_updates(params, updates), state

    return advancing(step, (params, tx.init(params)), layers(size, 0.5))


def _born(name: str) -> optax.GradientTransformationExtraArgs:
    rule = RULES[name]()
    return rule.as_optax(rule.init(jax.random.key(0)))


def steps(size: int, repeats: int) -> dict[str, Any]:
    """Seconds per step of each, in turn: medians, and the medians of the ratios to Adam's in the same round."""
    contenders = {name: steps_of(name, size) for name in ("adam (optax)", *RULES)}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, advance in contenders.items():
            times[name].append(_seconds(lambda advance=advance: advance(3)) / 3)
    ratios = {
        name: statistics.median(a / b for a, b in zip(all, times["adam (optax)"], strict=True))
        for name, all in times.items()
    }
    return {"seconds": {name: statistics.median(all) for name, all in times.items()}, "ratio": ratios}


def training(estimator: str, repeats: int) -> dict[str, Any]:
    """Inner steps per second of a meta-step on digits, beside the same number of learners that Adam moves.

    The default preset of `experiments.learned_optimizer` with another estimator; all learners count, both of a pair.
    Truncated windows of 20 updates, but for `es`, which lives whole lives of 100.
    """
    config = StudyConfig()
    updates = config.training.lifetime if estimator == "es" else config.meta.num_updates
    meta = dataclasses.replace(config.meta, estimator=estimator, num_updates=updates)
    study = build(dataclasses.replace(config, meta=meta))
    learners = meta.num_lifetimes * (1 if estimator == "meta_gradient" else 2)
    advance, plain = _meta_steps(study), _adam(learners, updates, config.training.task)
    times = [(_seconds(advance), _seconds(plain)) for _ in range(repeats + 1)][1:]
    rates = [learners * updates / statistics.median(column) for column in zip(*times, strict=True)]
    return {
        "estimator": estimator,
        "updates": updates,
        "inner_steps_per_second": rates[0],
        "adam_steps_per_second": rates[1],
        "ratio": statistics.median(plain / meta for meta, plain in times),
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def _meta_steps(study: Study) -> Callable[[], None]:
    key = jax.random.key(0)
    step = often(study.learner.step, donate_argnums=1)
    carry = [jax.jit(study.init)(key)]

    def advance() -> None:
        carry[0], metrics = step(key, carry[0])
        jax.block_until_ready(metrics)

    return advance


def _adam(number: int, updates: int, task: str) -> Callable[[], None]:
    """So many learners that Adam moves so many times: what meta-training cannot do without."""
    life = SupervisedLifetime(TASKS[task](), Designed(optax.adam))
    theta = jnp.float32(1e-2)
    config = StudyConfig()
    levels = build(config).learner.curriculum.init(jax.random.key(1), number)[1].levels
    born = jax.jit(jax.vmap(lambda key, level: life.init(key, theta, level)))
    keys = jax.random.split(jax.random.key(2), number)

    def lives(state: Any) -> Any:
        def body(state: Any, i: Any) -> Any:
            step = jax.vmap(lambda key, level, s: life.step(jax.random.fold_in(key, i), theta, level, s)[0])
            return step(keys, levels, state), None

        return jax.lax.scan(body, state, jnp.arange(updates))[0]

    run, state = often(lives), born(keys, levels)
    return lambda: jax.block_until_ready(run(state)) and None


def _seconds(act: Callable[[], Any]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(training(**job) if "estimator" in job else steps(**job)))
