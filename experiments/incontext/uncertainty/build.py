"""Builds the tasks, the model and the test distributions of a run from its configuration."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import optax

from experiments.incontext.uncertainty.config import FRESH, OBJECTIVES, StudyConfig
from lopt.incontext import Paired, Transformer
from lopt.tasks import GaussianInputs, LinearRegression
from lopt.types import Key, Metrics, Theta

TRAINING = "as in training"
"""Name of the test distribution of new functions from the training prior."""
LONGER = "twice as long"
"""Name of the test distribution with sequences of twice the training length."""


def name_of(pool: int) -> str:
    """The name of the model that is trained on a pool of this size, in metrics and tables."""
    return "new functions" if pool == FRESH else f"pool of {pool}"


@dataclass(frozen=True)
class Study:
    """The tasks, the model and the training step of a run."""

    config: StudyConfig

    @property
    def tasks(self) -> dict[str, LinearRegression]:
        """The training task of every model, by the model's name."""
        options = self.config.task
        return {
            name_of(pool): LinearRegression(
                dimensions=options.dimensions,
                length=options.length,
                noises=options.noises,
                std=options.std,
                criterion=OBJECTIVES[options.objective][0],
                pool=None if pool == FRESH else pool,
            )
            for pool in options.pools
        }

    @property
    def model(self) -> Transformer | Paired:
        """The Transformer, with position embeddings for sequences of twice the training length."""
        options, d = self.config.model, self.config.task.dimensions
        model = Transformer(
            inputs=2 * d if options.paired else d,
            targets=1,
            outputs=self.outputs,
            positions=2 * self.config.task.length,
            width=options.width,
            layers=options.layers,
            heads=options.heads,
        )
        return Paired(d, model) if options.paired else model

    @property
    def outputs(self) -> int:
        """Width of a prediction."""
        return OBJECTIVES[self.config.task.objective][1]

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam with a small epsilon, since gradients are very small on the plateau before in-context learning."""
        options = self.config.training
        schedule = optax.warmup_cosine_decay_schedule(0.0, options.learning_rate, options.warmup, options.num_steps)
        return optax.chain(optax.clip_by_global_norm(options.max_norm), optax.adam(schedule, eps=1e-12))

    def init(self, key: Key) -> dict[str, tuple[Theta, Any]]:
        """Weights and optimizer state of every model; all models have the same initial weights."""
        theta = self.model.init(key)
        return {name: (theta, self.optimizer.init(theta)) for name in self.tasks}

    def step(self, key: Key, state: dict) -> tuple[dict, Metrics]:
        """One update of every model on sequences of its training task, and the losses."""
        new_state: dict = {}
        metrics: Metrics = {}
        for (name, task), key_model in zip(self.tasks.items(), jax.random.split(key, len(self.tasks)), strict=True):
            theta, opt_state = state[name]

            def mean_loss(theta, task=task, key=key_model):
                def loss(key):
                    key_task, key_context = jax.random.split(key)
                    function = task.sample(key_task)
                    c = task.context(key_context, function, held_out=False)
                    return task.losses(function, self.model.apply(theta, c.xs, c.ys_prev), c.targets)[0]

                losses = jax.vmap(loss)(jax.random.split(key, self.config.training.batch))
                return losses.mean(), losses[:, -1].mean()

            (value, last), gradient = jax.value_and_grad(mean_loss, has_aux=True)(theta)
            updates, opt_state = self.optimizer.update(gradient, opt_state, theta)
            new_state[name] = optax.apply_updates(theta, updates), opt_state
            metrics |= {f"{name}/loss": value, f"{name}/loss_last": last}
        return new_state, metrics

    def shifts(self) -> dict[str, LinearRegression]:
        """The test distributions by name: new functions from the training prior, and distribution shifts of it."""
        options = self.config.task
        prior = dataclasses.replace(next(iter(self.tasks.values())), pool=None)
        low, high, d = min(options.noises), 2 * max(options.noises) or 0.5, options.dimensions
        spectrum = [1.0 / (i + 1) ** 2 for i in range(d)]
        skewed = tuple((d * s / sum(spectrum)) ** 0.5 for s in spectrum)
        half = tuple(2.0**0.5 if i < d // 2 else 0.0 for i in range(d))
        changes: dict[str, dict[str, Any]] = {
            TRAINING: {},
            LONGER: {"length": 2 * options.length},
            f"noise {high:g}": {"noises": (high,)},
            **({f"noise {0.4 * low:g}": {"noises": (0.4 * low,)}} if low else {}),
            "weights twice as large": {"std": 2 * options.std},
            "weights around one": {"mean": 1.0},
            "inputs twice as large": {"inputs": GaussianInputs((2.0,))},
            "inputs in a subspace of half the dimension": {"inputs": GaussianInputs(half)},
            "inputs with a skewed covariance": {"inputs": GaussianInputs(skewed)},
        }
        return {name: dataclasses.replace(prior, **change) for name, change in changes.items()}
