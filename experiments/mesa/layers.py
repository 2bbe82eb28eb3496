"""Single layers that are trained from small random weights: few-shot attention, and two on linear systems."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from experiments.common.compiling import often
from experiments.mesa.config import FewShotConfig, SystemsConfig
from lopt.incontext import FewShotAttention, MesaLayer, OneStepAttention
from lopt.protocols import SequenceModel
from lopt.tasks import LinearRegression, LinearSystem, OneStep, UniformInputs, ridge
from lopt.types import Key, Metrics, Theta


@dataclass(frozen=True)
class Layer:
    """A model, the errors it makes on one sequence, and how it is trained.

    Attributes:
        name: as in the metrics.
        birth: from a key to weights.
        errors: from a key (which draws a sequence) and weights to losses at every position `[T]`.
        batch: sequences of an update.
        updates: updates per step.
        learning_rate: Adam's at the start.
        total: updates of the whole training.
    """

    name: str
    birth: Callable[[Key], Theta]
    errors: Callable[[Key, Theta], Float[Array, " T"]]
    batch: int
    updates: int
    learning_rate: float
    total: int

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Adam, its rate falling to zero; the norm of a gradient is held at one."""
        rate = optax.cosine_decay_schedule(self.learning_rate, self.total)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    def init(self, key: Key) -> tuple[Theta, Any]:
        """Weights, and the optimizer's state."""
        theta = self.birth(key)
        return theta, self.optimizer.init(theta)

    def step(self, key: Key, state: tuple[Theta, Any]) -> tuple[tuple[Theta, Any], Metrics]:
        """All updates of one step."""

        def mean_loss(theta, key):
            return jax.vmap(lambda k: self.errors(k, theta))(jax.random.split(key, self.batch)).mean()

        def update(state, key):
            theta, opt_state = state
            value, gradient = jax.value_and_grad(mean_loss)(theta, key)
            updates, opt_state = self.optimizer.update(gradient, opt_state, theta)
            return (optax.apply_updates(theta, updates), opt_state), value

        state, values = jax.lax.scan(update, state, jax.random.split(key, self.updates))
        return state, {f"{self.name}/loss": values.mean()}

    def measure(self, theta: Theta, seed: int, number: int) -> np.ndarray:
        """Losses `[number, T]` on sequences that no training has seen."""
        many = often(lambda t, keys: jax.lax.map(lambda k: self.errors(k, t), keys, batch_size=min(256, number)))
        return np.asarray(many(theta, jax.random.split(jax.random.key(seed), number)), np.float64)


def few_shot(config: FewShotConfig, num_steps: int) -> tuple[Layer, FewShotAttention, OneStep]:
    """The layer, its model, and the theory of its best loss."""
    inputs = UniformInputs(config.width)
    task = LinearRegression(config.dimensions, config.examples + 1, inputs=inputs)
    model = FewShotAttention(config.dimensions, 1)

    def errors(key: Key, theta: Theta) -> Array:
        key_task, key_context = jax.random.split(key)
        c = task.context(key_context, task.sample(key_task), held_out=False)
        answer = model.apply(theta, c.xs[:-1], c.targets[:-1], c.xs[-1])
        return 0.5 * jnp.square(answer - c.targets[-1])

    layer = Layer(
        "few-shot", model.init, errors, config.batch, config.updates, config.learning_rate, num_steps * config.updates
    )
    return layer, model, OneStep(config.dimensions, config.examples, inputs)


def systems(config: SystemsConfig, num_steps: int) -> dict[str, tuple[Layer, SequenceModel]]:
    """Linear attention and the mesa-layer on the same distribution of systems."""
    d = config.dimensions
    task = LinearSystem(d, config.length, config.noise)
    models = {"linear attention": OneStepAttention(d, d, d, scale=0.1), "mesa-layer": MesaLayer(d, d, d)}

    def errors(model: SequenceModel, key: Key, theta: Theta) -> Array:
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=False)
        return task.losses(system, model.apply(theta, c.xs, c.ys_prev), c.targets)[0]

    def layer(name: str, model: SequenceModel) -> Layer:
        total = num_steps * config.updates
        return Layer(
            name, model.init, partial(errors, model), config.batch, config.updates, config.learning_rate, total
        )

    return {name: (layer(name, model), model) for name, model in models.items()}


def regression_errors(config: SystemsConfig, penalty: float, seed: int, number: int) -> np.ndarray:
    """Losses `[number, T]` of ridge regression on the same sequences as `Layer.measure` with that seed."""
    task = LinearSystem(config.dimensions, config.length, config.noise)

    def errors(key: Key) -> Array:
        key_task, key_context = jax.random.split(key)
        system = task.sample(key_task)
        c = task.context(key_context, system, held_out=False)
        return task.losses(system, ridge(c.xs, c.targets, penalty), c.targets)[0]

    many = often(lambda keys: jax.lax.map(errors, keys, batch_size=min(256, number)))
    return np.asarray(many(jax.random.split(jax.random.key(seed), number)), np.float64)
