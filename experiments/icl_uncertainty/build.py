"""From a configuration to tasks, models, and the distributions that models are tested on."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.icl_uncertainty.config import FRESH, OBJECTIVES, StudyConfig
from lopt.incontext import Paired, Transformer
from lopt.tasks import GaussianInputs, LinearRegression
from lopt.types import Key, Metrics, Theta

TRAINING = "as in training"
LONGER = "twice as long"


def name_of(pool: int) -> str:
    """How a model is called in metrics and tables."""
    return "new functions" if pool == FRESH else f"pool of {pool}"


@dataclass(frozen=True)
class Study:
    """The parts of a run."""

    config: StudyConfig

    @property
    def tasks(self) -> dict[str, LinearRegression]:
        """What each model is trained on."""
        here = self.config.task
        return {
            name_of(pool): LinearRegression(
                here.dimensions,
                here.length,
                here.noises,
                here.std,
                criterion=OBJECTIVES[here.objective][0],
                pool=None if pool == FRESH else pool,
            )
            for pool in here.pools
        }

    @property
    def model(self) -> Transformer | Paired:
        """The Transformer; it has positions for sequences of twice the length."""
        here, d = self.config, self.config.task.dimensions
        model = Transformer(
            2 * d if here.model.paired else d,
            1,
            self.outputs,
            2 * here.task.length,
            here.model.width,
            here.model.layers,
            here.model.heads,
        )
        return Paired(d, model) if here.model.paired else model

    @property
    def outputs(self) -> int:
        """Numbers of a prediction."""
        return OBJECTIVES[self.config.task.objective][1]

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam with a small epsilon: gradients are tiny on the plateau before in-context learning sets in."""
        here = self.config.training
        rate = optax.warmup_cosine_decay_schedule(0.0, here.learning_rate, here.warm_up, here.num_steps)
        return optax.chain(optax.clip_by_global_norm(here.max_norm), optax.adam(rate, eps=1e-12))

    def init(self, key: Key) -> dict[str, tuple[Theta, Any]]:
        """Weights and optimizer's state of every model; all start alike."""
        theta = self.model.init(key)
        return {name: (theta, self.optimizer.init(theta)) for name in self.tasks}

    def step(self, key: Key, state: dict) -> tuple[dict, Metrics]:
        """One update of every model, each on sequences of its own task."""
        after, metrics = {}, {}
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
            after[name] = optax.apply_updates(theta, updates), opt_state
            metrics |= {f"{name}/loss": value, f"{name}/loss_last": last}
        return after, metrics

    def shifts(self) -> dict[str, LinearRegression]:
        """New functions: of the prior of training, and of others."""
        here = self.config.task
        prior = dataclasses.replace(next(iter(self.tasks.values())), pool=None)
        low, loud, d = min(here.noises), 2 * max(here.noises) or 0.5, here.dimensions
        skew = [1.0 / (i + 1) ** 2 for i in range(d)]
        scales = tuple((d * s / sum(skew)) ** 0.5 for s in skew)
        half = tuple(2.0**0.5 if i < d // 2 else 0.0 for i in range(d))
        changes: dict[str, dict[str, Any]] = {
            TRAINING: {},
            LONGER: {"length": 2 * here.length},
            f"noise {loud:g}": {"noises": (loud,)},
            **({f"noise {0.4 * low:g}": {"noises": (0.4 * low,)}} if low else {}),
            "weights twice as large": {"std": 2 * here.std},
            "weights around one": {"mean": 1.0},
            "inputs twice as large": {"inputs": GaussianInputs((2.0,))},
            "inputs in a half of the space": {"inputs": GaussianInputs(half)},
            "inputs of a skewed covariance": {"inputs": GaussianInputs(scales)},
        }
        return {name: dataclasses.replace(prior, **change) for name, change in changes.items()}


def draw(task: LinearRegression, seed: int, number: int) -> tuple[jax.Array, jax.Array]:
    """Inputs `[number, T, d]` and labels `[number, T]` of as many functions."""

    def one(key: Key):
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=True)
        return c.xs, c.targets[:, 0]

    return jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(seed), number))


def told(ys: jax.Array) -> jax.Array:
    """Labels `[n, T]` as a model is told of them."""
    return jnp.concatenate([jnp.zeros_like(ys[:, :1]), ys[:, :-1]], 1)[..., None]
