"""Time of an in-context learner's meta-training step against its products and PyTorch; prints one line of JSON."""

import importlib.util
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from experiments.benchmark.timing import in_turn, matmul_gflops, median_ratio, medians
from experiments.incontext.gpicl.build import Study, build
from experiments.incontext.gpicl.config import ModelConfig, StudyConfig, TasksConfig
from lopt.incontext import Transformer
from lopt.training import jit_once, jit_repeated


def step_flops(model: Transformer, length: int, batch: int) -> float:
    """Floating-point operations in the matrix products of a step: the forward pass, and twice that backward.

    Masked attention scores are counted, since they are computed.

    Args:
        model: the Transformer.
        length: T, number of positions.
        batch: number of sequences.
    """
    size = model.heads * (model.key_size or model.width // model.heads)
    block = 4 * model.width * size + 2 * model.expansion * model.width**2 + 2 * length * size
    embedding_and_head = (model.inputs + model.targets + model.outputs) * model.width
    return 3 * 2.0 * batch * length * (model.layers * block + embedding_and_head)


def training(study: Study) -> Callable[[], None]:
    """A function that makes one compiled meta-step and keeps the new state."""
    key = jax.random.key(0)
    carry = [jit_once(study.learner.init)(key), 0]
    step = jit_repeated(study.learner.step, donate_argnums=1).lower(key, carry[0]).compile()

    def advance() -> None:
        carry[0], metrics = step(jax.random.fold_in(key, carry[1]), carry[0])
        carry[1] += 1
        jax.block_until_ready((carry[0].theta, metrics))

    return advance


def task_sampling(study: Study, batch: int) -> Callable[[], None]:
    """A function that only samples the tasks and sequences of a step."""

    def sequence(key: Any) -> Any:
        key_task, key_context = jax.random.split(key)
        return study.tasks.context(key_context, study.tasks.sample(key_task), held_out=False)

    sample = jit_repeated(lambda keys: jax.vmap(sequence)(keys))
    keys = jax.random.split(jax.random.key(0), batch)

    def advance() -> None:
        jax.block_until_ready(sample(keys))

    return advance


def measure(
    length: int, features: int, width: int, layers: int, heads: int, batch: int, repeats: int
) -> dict[str, Any]:
    """Medians over the repeats, and medians of ratios of calls in the same round."""
    options = TasksConfig(length=length, features=features, min_classes=0)
    config = StudyConfig(tasks=options, model=ModelConfig(width=width, layers=layers, heads=heads))
    study = build(replace(config, meta=replace(config.meta, batch_size=batch)))
    assert isinstance(study.model, Transformer)
    functions = {"step": training(study), "tasks": task_sampling(study, batch)}
    if importlib.util.find_spec("torch") is not None:
        from experiments.benchmark import torch_transformer

        functions["torch"] = torch_transformer.training(study, batch)
    times = in_turn(functions, repeats, warm_up=2)
    gflops = matmul_gflops()
    seconds = medians(times)
    floor = step_flops(study.model, length, batch) / (gflops * 1e9)
    figures = {
        "length": length,
        "features": features,
        "width": width,
        "layers": layers,
        "batch": batch,
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "seconds": seconds["step"],
        "sequences_per_second": batch / seconds["step"],
        "matmul_gflops": gflops,
        "over_floor": seconds["step"] / floor,
        "task_sampling_fraction": median_ratio(times["tasks"], times["step"]),
        "all_seconds": times,
    }
    if "torch" in times:
        figures |= {
            "torch_seconds": seconds["torch"],
            "speedup_over_torch": median_ratio(times["torch"], times["step"]),
        }
    return figures


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
