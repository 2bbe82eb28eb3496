"""Trains all layers in one run, and compares them with theory."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from experiments.cli.study import StudyRun, run_study
from experiments.incontext.mesa import diagonal_unitary, layers, pictures
from experiments.incontext.mesa.config import MesaConfig
from experiments.incontext.mesa.report import (
    TITLE,
    DiagonalUnitaryResults,
    FewShotResults,
    LinearSystemResults,
    Results,
    write,
)
from lopt.training import Outcome, RunFolder, run, status
from lopt.types import Key, Metrics

TEST_SEED = 1
"""Seed of all test sequences."""
REGRESSION_PENALTY = 1e-3
"""Penalty of the ridge regression on linear systems."""


@dataclass(frozen=True)
class Study:
    """The models of a run: the variants on diagonal unitary AR sequences, and the layers that Adam trains."""

    config: MesaConfig

    @property
    def variants(self) -> list[diagonal_unitary.Variant]:
        """The variants on diagonal unitary AR sequences."""
        return diagonal_unitary.variants(self.config.diagonal_unitary)

    @property
    def layers(self) -> list[layers.Layer]:
        """Few-shot attention, and the two layers on linear systems."""
        few_shot, _, _ = layers.few_shot(self.config.few_shot, self.config.num_steps)
        return [few_shot, *(layer for layer, _ in layers.systems(self.config.systems, self.config.num_steps).values())]

    def init(self, key: Key) -> dict:
        """Initial weights and optimizer states of all models, and the number of steps done."""
        replicas = self.config.diagonal_unitary.replicas
        initial = {v.name: v.initial_theta(self.config.diagonal_unitary.initial_weights) for v in self.variants}
        keys = jax.random.split(key, len(self.layers))
        return {
            "diagonal_unitary": jax.tree.map(lambda x: jnp.stack([x] * replicas), initial),
            "layers": {layer.name: layer.init(k) for layer, k in zip(self.layers, keys, strict=True)},
            "step": jnp.int32(0),
        }

    def step(self, key: Key, state: dict) -> tuple[dict, Metrics]:
        """One step of all models, and their losses."""
        options = self.config.diagonal_unitary
        metrics: Metrics = {}
        anneal = 0.5 * (1 + jnp.cos(jnp.pi * state["step"] / self.config.num_steps))
        keys = iter(jax.random.split(key, len(self.variants) + len(self.layers)))
        new_variants, new_layers = {}, {}
        for v in self.variants:
            new_variants[v.name], info = diagonal_unitary.sgd_step(
                options, v, next(keys), state["diagonal_unitary"][v.name], anneal
            )
            metrics |= info
        for layer in self.layers:
            new_layers[layer.name], info = layer.step(next(keys), state["layers"][layer.name])
            metrics |= info
        return {"diagonal_unitary": new_variants, "layers": new_layers, "step": state["step"] + 1}, metrics


def main(config: MesaConfig) -> Outcome:
    """Train all models, integrate the exact gradient flow, evaluate, and write the report."""
    study = Study(config)

    def report(folder: RunFolder, outcome: Outcome) -> None:
        with status("integrating the exact gradient flow, and evaluating", config.run.progress):
            results = evaluate(study, jax.device_get(outcome.state))
        write(config, folder, results)

    curves = partial(pictures.training, config, variants=study.variants)
    return run_study(StudyRun(config=config, title=TITLE, train=partial(train, study), curves=curves, report=report))


def train(study: Study, folder: RunFolder) -> Outcome:
    """Train all models for `num_steps` steps."""
    config = study.config
    names = [variant.name for variant in study.variants] + [layer.name for layer in study.layers]
    return run(
        config.run,
        folder,
        init=study.init,
        step=study.step,
        num_steps=config.num_steps,
        chunk=config.steps_per_chunk,
        headline=("few-shot/loss", "mesa-layer/loss"),
        finite=[f"{name}/loss" for name in names],
    )


def evaluate(study: Study, state: dict) -> Results:
    """Integrate the exact flow of every variant, and evaluate all models of a trained state."""
    config, number = study.config, study.config.test_sequences
    by_variant = {}
    for v in study.variants:
        initial_weights = config.diagonal_unitary.initial_weights
        end, path = diagonal_unitary.gradient_flow(v, initial_weights, config.flow_steps)
        trained = state["diagonal_unitary"][v.name]
        mean = jax.tree.map(lambda x: x[:, 0].mean(0), trained)
        evaluation = diagonal_unitary.evaluate(v, mean, TEST_SEED, number)
        of_flow = diagonal_unitary.evaluate(v, jax.tree.map(lambda x: x[0], end), TEST_SEED, number)
        by_variant[v.name] = DiagonalUnitaryResults(
            v, jax.device_get(end), jax.device_get(path), trained, evaluation, of_flow
        )
    layer, _, theory = layers.few_shot(config.few_shot, config.num_steps)
    theta = state["layers"][layer.name][0]
    few_shot = FewShotResults(theory, theta, layer.evaluate(theta, TEST_SEED, 8 * number)[:, 0])
    losses = {}
    for name, (layer, _) in layers.systems(config.systems, config.num_steps).items():
        losses[name] = layer.evaluate(state["layers"][name][0], TEST_SEED, number)
    losses["ridge regression"] = layers.ridge_losses(config.systems, REGRESSION_PENALTY, TEST_SEED, number)
    mesa = jax.tree.map(np.asarray, state["layers"]["mesa-layer"][0])
    return Results(by_variant, few_shot, LinearSystemResults(losses, mesa))
