"""A minimal study: an optax optimizer on a quadratic, with a typed key and an empty array in its state."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from experiments.cli.command_line import Run, launch
from lopt.training.folder import open_folder
from lopt.training.loop import Hook, Outcome, run
from lopt.training.run_config import RunConfig
from lopt.training.stopping import command_line, resume_command


class ToyState(struct.PyTreeNode):
    """The state of the toy study."""

    theta: Any
    opt_state: Any
    key: jax.Array
    empty: jax.Array
    step: jax.Array


@dataclass(frozen=True)
class Task:
    """The quadratic that is minimised."""

    size: int = 8
    """Number of parameters (count) of the quadratic."""


@dataclass(frozen=True)
class ToyConfig:
    """The configuration of the toy study."""

    steps: int = 20
    """Steps (count) of the run."""
    chunk: int = 5
    """Steps (count) per compiled chunk, a divisor of the number of steps."""
    lr: float = 0.1
    """Learning rate of Adam, a positive number."""
    breaks_at: int = -1
    """Index of a step whose loss is NaN. -1 means that no loss is."""
    task: Task = Task()
    """Options of the quadratic."""
    run: Run = RunConfig(out="runs/toy", checkpoint_minutes=0, progress=False)

    def __post_init__(self):
        if not self.lr > 0:
            raise ValueError(f"lr: must be > 0 (got {self.lr})")


PRESETS = {"quick": ToyConfig(), "paper": ToyConfig(steps=40)}


def train(
    config: ToyConfig, hooks: tuple[Hook, ...] = (), command: str = "toy", frac_nonfinite: tuple[float, ...] = ()
) -> Outcome:
    """Run the study in its folder; `frac_nonfinite` are the values of this metric at each step."""
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
        if frac_nonfinite:
            metrics["frac_nonfinite"] = jnp.array(frac_nonfinite)[state.step]
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


def main(config: ToyConfig) -> Outcome:
    """Run the study as its command line does."""
    outcome = train(config, command=command_line())
    print(f"step {outcome.step}: {resume_command() if outcome.stopped else 'done'}")
    return outcome


if __name__ == "__main__":
    launch(main, ToyConfig, PRESETS)
