"""How fast programs are tried: by the population interpreter, by compiling each, by running each eagerly; prints one
line of JSON.

All train learners of the same proxy, one for each program, from the same newborn on the same minibatches.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.compiling import often
from experiments.learned_optimizer.names import TASKS
from experiments.lion_search.build import proxy
from lopt.search import Mutation, Program, canonical_hash, fingerprint, interpret, parse, prune_loop, published
from lopt.search.population import Evaluator, Proxy, Skeleton, encode, layout_of, stack
from lopt.search.population.training import newborns, training

COMPILED, EAGER = 4, 1
"""Programs per round of the slow ways."""


def candidates(number: int) -> list[Program]:
    """Different programs, one to eight mutations from AdamW, pruned; all of them can be told apart."""
    rng, mutate, known = np.random.default_rng(0), Mutation(), {}
    while len(known) < number:
        program = parse(published.ADAMW)
        for _ in range(int(rng.integers(1, 9))):
            program = mutate(rng, program)
        known.setdefault(canonical_hash(program), prune_loop(program))
    return list(known.values())


def nothing(layout: Any, codes: Any, w: Any, g: Any, extras: Any, lr: Any) -> Any:
    """An interpreter that only descends the gradient: what is left is the floor."""
    return 1e-3 * g, extras


def eager(task: Proxy, programs: Sequence[Program]) -> None:
    """One program after another, statement by statement in numpy; the gradient alone is compiled."""
    key_birth, key_life = jax.random.split(jax.random.key(0))
    gradient = _gradient(task)
    for program in programs:
        params, structure = jax.tree.flatten(task.init(key_birth))
        w = tuple(np.asarray(x, np.float64) for x in params)
        extras = [tuple(np.zeros_like(x) for x in w) for _ in program.extras]
        for i in range(task.steps):
            g = gradient(jax.tree.unflatten(structure, [jnp.asarray(x, jnp.float32) for x in w]), key_life, i)
            lr = 0.5 * (1 + np.cos(np.pi * i / task.steps))
            update, after = interpret(program, w, [np.asarray(x) for x in jax.tree.leaves(g)], extras, lr)
            with np.errstate(all="ignore"):
                w, extras = tuple(a - b for a, b in zip(w, update, strict=True)), list(after)


def _gradient(task: Proxy) -> Any:
    if task not in _gradients:
        _gradients[task] = often(lambda w, key, i: jax.grad(task.loss)(w, task.batch(jax.random.fold_in(key, i))))
    return _gradients[task]


_gradients: dict[Proxy, Any] = {}


def compiling(task: Proxy, programs: Sequence[Program]) -> None:
    """Each program compiled into a training loop of its own, and run once; as many at a time as there are cores."""
    layout = layout_of(jax.eval_shape(task.init, jax.random.key(0)), 2)
    newborn = newborns(task, layout, jax.random.key(0), 1)

    def one(program: Program) -> Any:
        train = often(training(task, layout, Skeleton(program)))
        codes = stack([encode(program, layout)])
        return jax.block_until_ready(train(jax.random.key(0), codes, newborn, jnp.int32(0), jnp.int32(task.steps)))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, programs))


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def mutations(number: int = 1000) -> dict[str, float]:
    """Programs a second on one core: mutated and valid, and with both of the names by which they are remembered."""
    rng, mutate, program = np.random.default_rng(0), Mutation(), parse(published.ADAMW)
    children = [program]

    def breed() -> None:
        for _ in range(number):
            children.append(mutate(rng, children[int(rng.integers(max(0, len(children) - 300), len(children)))]))

    bred = seconds(breed)
    named = seconds(lambda: [(canonical_hash(p), fingerprint(p)) for p in children[-number:]])
    return {"mutated": number / bred, "mutated_and_named": number / (bred + named)}


def measure(task: str, steps: int, number: int, rounds: int) -> dict[str, Any]:
    """Programs a second of each way, `rounds` times in turn."""
    small, programs = proxy(TASKS[task](), steps), candidates(number)
    ours = Evaluator(small, compile=often)
    floor = Evaluator(small, interpreter=nothing, compile=often)
    ways: dict[str, tuple[int, Callable[[Sequence[Program]], Any]]] = {
        "interpreter": (number, ours),
        "gradients alone": (number, floor),
        "compiling each": (COMPILED, lambda them: compiling(small, them)),
        "eager, in numpy": (EAGER, lambda them: eager(small, them)),
    }
    first = seconds(lambda: ours(programs[:1]))
    floor(programs[:1]), eager(small, programs[:1])
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name, (count, way) in ways.items():
            at = turn * count % number
            some = (programs + programs)[at : at + count]
            rates[name].append(count / seconds(lambda way=way, some=some: way(some)))
    middle = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "task": task,
        "parameters": ours.layout.width,
        "steps": steps,
        "programs": number,
        "statements": float(np.mean([len(p.statements) for p in programs])),
        "first_seconds": first,
        "per_second": middle,
        "all": rates,
        "times_compiling": middle["interpreter"] / middle["compiling each"],
        "times_eager": middle["interpreter"] / middle["eager, in numpy"],
        "over_floor": middle["gradients alone"] / middle["interpreter"],
        **mutations(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
