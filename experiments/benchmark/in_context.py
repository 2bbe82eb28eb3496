"""A meta-training step of an in-context learner beside the machine's products and PyTorch; prints one line of JSON."""

import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from experiments.benchmark.ceiling import matmul_gflops
from experiments.common.compiling import often, once
from experiments.gpicl.build import Study, build
from experiments.gpicl.config import ModelConfig, StudyConfig, TasksConfig
from lopt.incontext import Transformer


def step_flops(model: Transformer, length: int, batch: int) -> float:
    """Multiplications and additions in the products of a step: the forward pass, and twice that backward.

    The causal half of the attention's scores that is masked is counted, since it is computed.
    """
    size = model.heads * (model.key_size or model.width // model.heads)
    block = 4 * model.width * size + 2 * model.expansion * model.width**2 + 2 * length * size
    ends = (model.inputs + model.targets + model.outputs) * model.width
    return 3 * 2.0 * batch * length * (model.layers * block + ends)


def training(study: Study) -> Callable[[], None]:
    """A function that takes one meta-step, compiled, in place."""
    key = jax.random.key(0)
    carry = [once(study.init)(key), 0]
    step = often(study.learner.step, donate_argnums=1).lower(key, carry[0]).compile()

    def advance() -> None:
        carry[0], metrics = step(jax.random.fold_in(key, carry[1]), carry[0])
        carry[1] += 1
        jax.block_until_ready((carry[0].theta, metrics))

    return advance


def drawing(study: Study, batch: int) -> Callable[[], None]:
    """A function that draws as many tasks and sequences as a step takes, and nothing else."""

    def one(key: Any) -> Any:
        key_task, key_context = jax.random.split(key)
        return study.tasks.context(key_context, study.tasks.sample(key_task), held_out=False)

    draw = often(lambda keys: jax.vmap(one)(keys))
    keys = jax.random.split(jax.random.key(0), batch)

    def advance() -> None:
        jax.block_until_ready(draw(keys))

    return advance


def in_turn(contenders: dict[str, Callable[[], None]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every contender's calls, after two that are not counted; nobody always goes first."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order = list(contenders)
    for i in range(repeats + 2):
        for name in order:
            start = time.perf_counter()
            contenders[name]()
            if i >= 2:
                times[name].append(time.perf_counter() - start)
        order.append(order.pop(0))
    return times


def measure(
    length: int, features: int, width: int, layers: int, heads: int, batch: int, repeats: int
) -> dict[str, Any]:
    """Medians over the repeats, and ratios of calls in the same round."""
    options = TasksConfig(length=length, features=features, fewest=0)
    config = StudyConfig(tasks=options, model=ModelConfig(width=width, layers=layers, heads=heads))
    study = build(replace(config, meta=replace(config.meta, batch_size=batch)))
    assert isinstance(study.model, Transformer)
    contenders = {"step": training(study), "tasks": drawing(study, batch)}
    if importlib.util.find_spec("torch") is not None:
        from experiments.benchmark import torch_transformer

        contenders["torch"] = torch_transformer.training(study, batch)
    times = in_turn(contenders, repeats)
    gflops = matmul_gflops()
    medians = {name: statistics.median(found) for name, found in times.items()}
    floor = step_flops(study.model, length, batch) / (gflops * 1e9)
    found = {
        "length": length,
        "features": features,
        "width": width,
        "layers": layers,
        "batch": batch,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "seconds": medians["step"],
        "sequences_per_second": batch / medians["step"],
        "matmul_gflops": gflops,
        "over_floor": medians["step"] / floor,
        "task_part": _ratio(times["tasks"], times["step"]),
        "all_seconds": times,
    }
    if "torch" in times:
        found |= {"torch_seconds": medians["torch"], "times_as_fast_as_torch": _ratio(times["torch"], times["step"])}
    return found


def _ratio(above: list[float], below: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
