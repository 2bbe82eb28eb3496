"""Programs evaluated per second by the population interpreter, by compilation of each program and by eager numpy;
prints one line of JSON.

Each program trains one learner on the same proxy, from the same initial weights and on the same minibatches.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark.timing import medians, seconds
from experiments.cli.tasks import TASKS
from lopt.search import Mutation, Program, canonical_hash, fingerprint, interpret, parse, prune_loop, published
from lopt.search.population import Evaluator, Proxy, Skeleton, encode, layout_of, stack
from lopt.search.population.evaluate import init_learners, make_train
from lopt.training import jit_repeated

INTERPRETER, GRADIENTS, COMPILATION, NUMPY = "interpreter", "gradients only", "compiling each program", "eager numpy"
"""Names of the methods in figures and tables."""
COMPILED, EAGER = 4, 1
"""Number of programs per round of the two slow methods."""


def candidates(number: int) -> list[Program]:
    """Pruned programs, one to eight mutations from AdamW, with distinct canonical hashes."""
    rng, mutate, distinct = np.random.default_rng(0), Mutation(), dict[str, Program]()
    while len(distinct) < number:
        program = parse(published.ADAMW)
        for _ in range(int(rng.integers(1, 9))):
            program = mutate(rng, program)
        distinct.setdefault(canonical_hash(program), prune_loop(program))
    return list(distinct.values())


def gradient_descent(layout: Any, codes: Any, w: Any, g: Any, extras: Any, lr: Any) -> Any:
    """An interpreter that makes steps of gradient descent: the floor, which is the time of the gradients."""
    return 1e-3 * g, extras


def eager(task: Proxy, programs: Sequence[Program]) -> None:
    """Train by each program in turn, statement by statement in numpy; only the gradient is compiled."""
    key_init, key_train = jax.random.split(jax.random.key(0))
    gradient = _gradient(task)
    for program in programs:
        params, structure = jax.tree.flatten(task.init(key_init))
        w = tuple(np.asarray(x, np.float64) for x in params)
        extras = [tuple(np.zeros_like(x) for x in w) for _ in program.extras]
        for i in range(task.steps):
            g = gradient(jax.tree.unflatten(structure, [jnp.asarray(x, jnp.float32) for x in w]), key_train, i)
            lr = 0.5 * (1 + np.cos(np.pi * i / task.steps))
            update, after = interpret(program, w, [np.asarray(x) for x in jax.tree.leaves(g)], extras, lr)
            with np.errstate(all="ignore"):
                w, extras = tuple(a - b for a, b in zip(w, update, strict=True)), list(after)


def _gradient(task: Proxy) -> Any:
    if task not in _gradients:
        _gradients[task] = jit_repeated(
            lambda w, key, i: jax.grad(task.loss)(w, task.batch(jax.random.fold_in(key, i)))
        )
    return _gradients[task]


_gradients: dict[Proxy, Any] = {}


def compiling(task: Proxy, programs: Sequence[Program]) -> None:
    """Compile a training loop for each program and run it once; one thread per core."""
    layout = layout_of(jax.eval_shape(task.init, jax.random.key(0)), 2)
    initial = init_learners(task, layout, jax.random.key(0), 1)

    def train_by(program: Program) -> Any:
        train = jit_repeated(make_train(task, layout, Skeleton(program)))
        codes = stack([encode(program, layout)])
        return jax.block_until_ready(train(jax.random.key(0), codes, initial, jnp.int32(0), jnp.int32(task.steps)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(train_by, programs))


def mutations(number: int = 1000) -> dict[str, float]:
    """Programs per second on one core: mutated, and mutated and hashed by structure and behaviour."""
    rng, mutate, program = np.random.default_rng(0), Mutation(), parse(published.ADAMW)
    children = [program]

    def mutate_all() -> None:
        for _ in range(number):
            children.append(mutate(rng, children[int(rng.integers(max(0, len(children) - 300), len(children)))]))

    mutation_seconds = seconds(mutate_all)
    hash_seconds = seconds(lambda: [(canonical_hash(p), fingerprint(p)) for p in children[-number:]])
    return {
        "mutations_per_second": number / mutation_seconds,
        "mutations_and_hashes_per_second": number / (mutation_seconds + hash_seconds),
    }


def measure(task: str, steps: int, number: int, rounds: int) -> dict[str, Any]:
    """Programs per second of each method: medians over `rounds` rounds in which the methods take turns."""
    task_proxy, programs = Proxy.of_task(TASKS[task](), steps), candidates(number)
    evaluator = Evaluator(task_proxy, compile=jit_repeated)
    floor = Evaluator(task_proxy, interpreter=gradient_descent, compile=jit_repeated)
    methods: dict[str, tuple[int, Callable[[Sequence[Program]], Any]]] = {
        INTERPRETER: (number, evaluator),
        GRADIENTS: (number, floor),
        COMPILATION: (COMPILED, lambda programs: compiling(task_proxy, programs)),
        NUMPY: (EAGER, lambda programs: eager(task_proxy, programs)),
    }
    first = seconds(lambda: evaluator(programs[:1]))
    floor(programs[:1])
    eager(task_proxy, programs[:1])
    rates: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(rounds):
        for name, (count, method) in methods.items():
            first_index = turn * count % number
            batch = (programs + programs)[first_index : first_index + count]
            rates[name].append(count / seconds(partial(method, batch)))
    median = medians(rates)
    return {
        "task": task,
        "parameters": evaluator.layout.width,
        "steps": steps,
        "programs": number,
        "statements": float(np.mean([len(p.statements) for p in programs])),
        "first_seconds": first,
        "per_second": median,
        "all_per_second": rates,
        "speedup_over_compiling": median[INTERPRETER] / median[COMPILATION],
        "speedup_over_eager": median[INTERPRETER] / median[NUMPY],
        "over_floor": median[GRADIENTS] / median[INTERPRETER],
        **mutations(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
