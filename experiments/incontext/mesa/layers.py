"""Single layers that are trained by Adam from random weights: few-shot attention, and two layers on linear systems."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from experiments.incontext.mesa.config import FewShotConfig, SystemsConfig
from lopt.incontext import FewShotAttention, MesaLayer, OneStepAttention
from lopt.protocols import SequenceModel
from lopt.tasks import LinearRegression, LinearSystem, OneStep, UniformInputs, ridge
from lopt.training import jit_repeated
from lopt.types import Key, Metrics, Theta


@dataclass(frozen=True)
class Layer:
    """A model, its loss on one sequence, and its training by Adam.

    Attributes:
        name: as in metrics and tables.
        init_theta: draws initial weights from a key.
        losses: losses at every position `[T]` from a key, which draws a sequence, and weights.
        batch: sequences per update.
        updates: updates per step of the run.
        learning_rate: initial learning rate of Adam.
        total: number of updates in the whole run.
    """

    name: str
    init_theta: Callable[[Key], Theta]
    losses: Callable[[Key, Theta], Float[Array, " T"]]
    batch: int
    updates: int
    learning_rate: float
    total: int

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam with cosine decay of the learning rate to zero; gradients are clipped to norm one."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.total)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def init(self, key: Key) -> tuple[Theta, Any]:
        """Initial weights and optimizer state."""
        theta = self.init_theta(key)
        return theta, self.optimizer.init(theta)

    def step(self, key: Key, state: tuple[Theta, Any]) -> tuple[tuple[Theta, Any], Metrics]:
        """The updates of one step of the run, and the mean loss over them."""

        def mean_loss(theta, key):
            return jax.vmap(lambda k: self.losses(k, theta))(jax.random.split(key, self.batch)).mean()

        def update(state, key):
            theta, opt_state = state
            value, gradient = jax.value_and_grad(mean_loss)(theta, key)
            updates, opt_state = self.optimizer.update(gradient, opt_state, theta)
            return (optax.apply_updates(theta, updates), opt_state), value

        state, values = jax.lax.scan(update, state, jax.random.split(key, self.updates))
        return state, {f"{self.name}/loss": values.mean()}

    def evaluate(self, theta: Theta, seed: int, number: int) -> np.ndarray:
        """Losses `[number, T]` on sequences of a seed that training does not use."""
        many = jit_repeated(lambda t, keys: jax.lax.map(lambda k: self.losses(k, t), keys, batch_size=min(256, number)))
        return np.asarray(many(theta, jax.random.split(jax.random.key(seed), number)), np.float64)


def few_shot(config: FewShotConfig, num_steps: int) -> tuple[Layer, FewShotAttention, OneStep]:
    """Few-shot attention: the layer with its training, its model, and the theory of its optimum."""
    inputs = UniformInputs(config.width)
    task = LinearRegression(dimensions=config.dimensions, length=config.examples + 1, inputs=inputs)
    model = FewShotAttention(inputs=config.dimensions, targets=1)

    def losses(key: Key, theta: Theta) -> Array:
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=False)
        prediction = model.apply(theta, c.xs[:-1], c.targets[:-1], c.xs[-1])
        return 0.5 * jnp.square(prediction - c.targets[-1])

    layer = Layer(
        "few-shot", model.init, losses, config.batch, config.updates, config.learning_rate, num_steps * config.updates
    )
    return layer, model, OneStep(dimensions=config.dimensions, examples=config.examples, inputs=inputs)


def systems(config: SystemsConfig, num_steps: int) -> dict[str, tuple[Layer, SequenceModel]]:
    """Linear attention and the mesa-layer on the same distribution of linear systems, by name, with their models."""
    d = config.dimensions
    task = LinearSystem(dimensions=d, length=config.length, noise=config.noise)
    models: dict[str, SequenceModel] = {
        "linear attention": OneStepAttention(inputs=d, targets=d, outputs=d, scale=0.1),
        "mesa-layer": MesaLayer(inputs=d, targets=d, outputs=d),
    }

    def losses(model: SequenceModel, key: Key, theta: Theta) -> Array:
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=False)
        return task.losses(system, model.apply(theta, c.xs, c.ys_prev), c.targets)[0]

    def layer(name: str, model: SequenceModel) -> Layer:
        total = num_steps * config.updates
        return Layer(
            name, model.init, partial(losses, model), config.batch, config.updates, config.learning_rate, total
        )

    return {name: (layer(name, model), model) for name, model in models.items()}


def ridge_losses(config: SystemsConfig, penalty: float, seed: int, number: int) -> np.ndarray:
    """Losses `[number, T]` of ridge regression on the sequences that `Layer.evaluate` uses with the same seed."""
    task = LinearSystem(dimensions=config.dimensions, length=config.length, noise=config.noise)

    def losses(key: Key) -> Array:
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=False)
        return task.losses(system, ridge(c.xs, c.targets, penalty), c.targets)[0]

    many = jit_repeated(lambda keys: jax.lax.map(losses, keys, batch_size=min(256, number)))
    return np.asarray(many(jax.random.split(jax.random.key(seed), number)), np.float64)
