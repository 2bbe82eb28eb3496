"""Training all layers at once, and measuring them against theory."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.cli import command_line
from experiments.common.folder import RunFolder, open_folder
from experiments.common.loop import Outcome, run
from experiments.common.progress import status
from experiments.common.unfinished import leave
from experiments.mesa import layers, pictures, rotations
from experiments.mesa.config import MesaConfig
from experiments.mesa.report import TITLE, Flowed, Found, Solved, Stepped, write
from lopt.types import Key, Metrics

TEST = 1
"""The seed of all test sequences."""
REGRESSION_PENALTY = 1e-3


@dataclass(frozen=True)
class Study:
    """What is trained: rotations by variant, and the layers that Adam trains."""

    config: MesaConfig

    @property
    def variants(self) -> list[rotations.Variant]:
        """Of the rotating sequences."""
        return rotations.variants(self.config.rotations)

    @property
    def layers(self) -> list[layers.Layer]:
        """Few-shot attention, and those on linear systems."""
        few_shot, _, _ = layers.few_shot(self.config.few_shot, self.config.num_steps)
        return [few_shot, *(layer for layer, _ in layers.systems(self.config.systems, self.config.num_steps).values())]

    def init(self, key: Key) -> dict:
        """All weights, and the number of steps done."""
        replicas = self.config.rotations.replicas
        births = {v.name: v.births(self.config.rotations.inits) for v in self.variants}
        keys = jax.random.split(key, len(self.layers))
        return {
            "rotations": jax.tree.map(lambda x: jnp.stack([x] * replicas), births),
            "layers": {layer.name: layer.init(k) for layer, k in zip(self.layers, keys, strict=True)},
            "step": jnp.int32(0),
        }

    def step(self, key: Key, state: dict) -> tuple[dict, Metrics]:
        """One step of everything."""
        here, metrics = self.config.rotations, {}
        anneal = 0.5 * (1 + jnp.cos(jnp.pi * state["step"] / self.config.num_steps))
        keys = iter(jax.random.split(key, len(self.variants) + len(self.layers)))
        turned, trained = {}, {}
        for v in self.variants:
            turned[v.name], told = rotations.descend(here, v, next(keys), state["rotations"][v.name], anneal)
            metrics |= told
        for layer in self.layers:
            trained[layer.name], told = layer.step(next(keys), state["layers"][layer.name])
            metrics |= told
        return {"rotations": turned, "layers": trained, "step": state["step"] + 1}, metrics


def main(config: MesaConfig) -> None:
    """Train, follow the exact flow, measure, and write the table of theory against measurement."""
    study = Study(config)
    folder = open_folder(config, command_line())
    outcome = train(study, folder)
    if outcome.stopped:
        leave(config, folder, outcome, TITLE, partial(pictures.training, config, folder, study.variants))
        return
    with status("following the exact gradient flow, and measuring", config.run.progress):
        found = measure(study, jax.device_get(outcome.state))
    write(config, folder, found)
    print(f"report: {folder.path / 'report.md'}")


def train(study: Study, folder: RunFolder) -> Outcome:
    """The run itself."""
    config = study.config
    losses = [f"{part.name}/loss" for part in (*study.variants, *study.layers)]
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.step,
        num_steps=config.num_steps,
        chunk=config.steps_per_chunk,
        headline=("few-shot/loss", "mesa-layer/loss"),
        finite=losses,
    )


def measure(study: Study, state: dict) -> Found:
    """Everything the report shows."""
    config, number = study.config, study.config.test_sequences
    flowed = {}
    for v in study.variants:
        last, path = rotations.flow(v, config.rotations.inits, config.flow_steps)
        trained = state["rotations"][v.name]
        tested = rotations.measure(v, jax.tree.map(lambda x: x[:, 0].mean(0), trained), TEST, number)
        exact = rotations.measure(v, jax.tree.map(lambda x: x[0], last), TEST, number)
        flowed[v.name] = Flowed(v, jax.device_get(last), jax.device_get(path), trained, tested, exact)
    few, _, theory = layers.few_shot(config.few_shot, config.num_steps)
    theta = state["layers"][few.name][0]
    stepped = Stepped(theory, theta, few.measure(theta, TEST, 8 * number)[:, 0])
    solved = {}
    for name, (layer, _) in layers.systems(config.systems, config.num_steps).items():
        solved[name] = layer.measure(state["layers"][name][0], TEST, number)
    solved["ridge regression"] = layers.regression_errors(config.systems, REGRESSION_PENALTY, TEST, number)
    mesa = state["layers"]["mesa-layer"][0]
    return Found(flowed, stepped, Solved(solved, jax.tree.map(np.asarray, mesa)))
