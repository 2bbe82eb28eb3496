"""A study in miniature: an optax optimizer on a quadratic, with a typed key and an empty array in its state."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from experiments.common.cli import command_line, launch, resume_command
from experiments.common.config import Run, RunConfig
from experiments.common.folder import open_folder
from experiments.common.loop import Hook, Outcome, run


class ToyState(struct.PyTreeNode):
    """What the toy carries."""

    theta: Any
    opt_state: Any
    key: jax.Array
    empty: jax.Array
    step: jax.Array


@dataclass(frozen=True)
class Task:
    """What is optimised."""

    size: int = 8
    """Parameters (count)."""


@dataclass(frozen=True)
class ToyConfig:
    """A toy study."""

    steps: int = 20
    """Steps (count)."""
    chunk: int = 5
    """Steps per compiled chunk (count)."""
    lr: float = 0.1
    """Learning rate of Adam."""
    breaks_at: int = -1
    """Step whose loss is NaN; -1 for none."""
    task: Task = Task()
    """The task."""
    run: Run = RunConfig(out="runs/toy", checkpoint_minutes=0, progress=False)

    def __post_init__(self):
        if not self.lr > 0:
            raise ValueError(f"lr: must be > 0 (got {self.lr})")


PRESETS = {"quick": ToyConfig(), "paper": ToyConfig(steps=40)}


def train(
    config: ToyConfig, hooks: tuple[Hook, ...] = (), command: str = "toy", left_out: tuple[float, ...] = ()
) -> Outcome:
    """Run the study in its folder; `left_out` are the fractions of lifetimes that its steps leave out, by step."""
    folder = open_folder(config, command)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(config.lr))

    def init(key):
        theta = {"w": jax.random.normal(key, (config.task.size,))}
        return ToyState(theta, tx.init(theta), key, jnp.zeros((0, 2)), 0)

    def step(key, state):
        target = jax.random.normal(key, (config.task.size,)) + jax.random.normal(state.key)
        loss, grad = jax.value_and_grad(lambda theta: jnp.sum((theta["w"] - target) ** 2))(state.theta)
        updates, opt_state = tx.update(grad, state.opt_state, state.theta)
        metrics = {
            "meta_loss": jnp.where(state.step == config.breaks_at, jnp.nan, loss),
            "sometimes": jnp.where(state.step % 3 == 0, loss, jnp.nan),
            "never": jnp.nan,
        }
        if left_out:
            metrics["frac_nonfinite"] = jnp.array(left_out)[state.step]
        theta = optax.apply_updates(state.theta, updates)
        key = jax.random.split(state.key)[0]
        return state.replace(theta=theta, opt_state=opt_state, key=key, step=state.step + 1), metrics

    def evaluate(key, step, state, logger):
        logger.log(step, {"eval": jax.random.normal(key) + state.theta["w"].sum()})

    try:
        return run(
            config.run,
            folder,
            init=init,
            step=step,
            num_steps=config.steps,
            chunk=config.chunk,
            hooks=(Hook(2 * config.chunk, evaluate, at_start=True), *hooks),
            headline=("meta_loss",),
            finite=("meta_loss",),
        )
    finally:
        folder.close()


def main(config: ToyConfig) -> None:
    """What a study's `__main__` does."""
    outcome = train(config, command=command_line())
    print(f"step {outcome.step}: {resume_command() if outcome.stopped else 'done'}")


if __name__ == "__main__":
    launch(main, ToyConfig, PRESETS)
