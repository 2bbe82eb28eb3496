"""Times of learned optimizers' steps against Adam's, and inner steps per second of meta-training; prints one line of
JSON."""

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.benchmark.optimizers import Advance, advancing
from experiments.benchmark.timing import in_turn, median_ratio, medians, peak_gib
from experiments.cli.tasks import TASKS
from experiments.optimizer.build import Study, build
from experiments.optimizer.config import RULES, StudyConfig
from lopt.optimizers import FromOptax
from lopt.tasks import SupervisedLifetime
from lopt.training import jit_repeated

ADAM = "adam (optax)"
WIDTH = 100  # of the layers whose parameters are updated


def layers(size: int, value: float) -> list[dict[str, jax.Array]]:
    """Weights and biases of layers, about `size` numbers in all, filled with `value`."""
    count = max(1, round(size / (WIDTH * (WIDTH + 1))))
    return [{"w": jnp.full((WIDTH, WIDTH), value), "b": jnp.full((WIDTH,), value)} for _ in range(count)]


def steps_of(name: str, size: int) -> Advance:
    """Steps of Adam, or of a learned optimizer with its initial theta, on about `size` parameters."""
    params = layers(size, 1.0)
    tx = optax.with_extra_args_support(optax.adam(1e-3) if name == ADAM else _initial_rule(name))

    def step(carry: Any, gradients: Any) -> Any:
        params, state = carry
        updates, state = tx.update(gradients, state, params, value=jnp.float32(1.0))
        return optax.apply_updates(params, updates), state

    return advancing(step, (params, tx.init(params)), layers(size, 0.5))


def _initial_rule(name: str) -> optax.GradientTransformationExtraArgs:
    rule = RULES[name]()
    return rule.as_optax(rule.init(jax.random.key(0)))


def steps(size: int, repeats: int) -> dict[str, Any]:
    """Median seconds per step of each optimizer, and medians of the ratios to Adam's time in the same round."""
    optimizers = {name: steps_of(name, size) for name in (ADAM, *RULES)}
    times = in_turn({name: partial(advance, 3) for name, advance in optimizers.items()}, repeats)
    ratios = {name: median_ratio(seconds, times[ADAM]) for name, seconds in times.items()}
    return {"seconds": {name: seconds / 3 for name, seconds in medians(times).items()}, "ratio": ratios}


def training(estimator: str, repeats: int) -> dict[str, Any]:
    """Inner steps per second of meta-training on digits, against those of as many learners trained by Adam.

    The configuration is the default preset of `experiments.learned_optimizer` with the given estimator. Both learners
    of an antithetic pair count. A meta-step unrolls a window of 20 updates, or for `es` a full lifetime of 100.
    """
    config = StudyConfig()
    updates = config.training.num_updates if estimator == "es" else config.meta.num_updates
    meta = dataclasses.replace(config.meta, estimator=estimator, num_updates=updates)
    study = build(dataclasses.replace(config, meta=meta))
    learners = meta.num_lifetimes * (1 if estimator == "meta_gradient" else 2)
    meta_step, adam_updates = _meta_steps(study), _adam(learners, updates, config.training.task)
    times = in_turn({"meta": meta_step, "adam": adam_updates}, repeats, warm_up=1)
    rates = {name: learners * updates / seconds for name, seconds in medians(times).items()}
    return {
        "estimator": estimator,
        "updates": updates,
        "inner_steps_per_second": rates["meta"],
        "adam_steps_per_second": rates["adam"],
        "ratio": median_ratio(times["adam"], times["meta"]),
        "peak_gib": peak_gib(),
    }


def _meta_steps(study: Study) -> Callable[[], None]:
    key = jax.random.key(0)
    step = jit_repeated(study.learner.step, donate_argnums=1)
    carry = [jax.jit(study.learner.init)(key)]

    def advance() -> None:
        carry[0], metrics = step(key, carry[0])
        jax.block_until_ready(metrics)

    return advance


def _adam(number: int, updates: int, task: str) -> Callable[[], None]:
    """A function that makes `updates` updates of `number` learners by Adam: the inner steps without meta-training."""
    lifetime = SupervisedLifetime(task=TASKS[task](), optimizer=FromOptax(optax.adam))
    theta = jnp.float32(1e-2)
    config = StudyConfig()
    levels = build(config).learner.curriculum.init(jax.random.key(1), number)[1].levels
    init = jax.jit(jax.vmap(lambda key, level: lifetime.init(key, theta, level)))
    keys = jax.random.split(jax.random.key(2), number)

    def train(state: Any) -> Any:
        def body(state: Any, i: Any) -> Any:
            step = jax.vmap(lambda key, level, s: lifetime.step(jax.random.fold_in(key, i), theta, level, s)[0])
            return step(keys, levels, state), None

        return jax.lax.scan(body, state, jnp.arange(updates))[0]

    run, state = jit_repeated(train), init(keys, levels)
    return lambda: jax.block_until_ready(run(state)) and None


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(training(**job) if "estimator" in job else steps(**job)))
