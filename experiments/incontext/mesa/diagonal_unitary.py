"""Linear attention on diagonal unitary AR sequences: training on samples, and the exact gradient flow."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.incontext.mesa.config import INITIALS, MASKED, DiagonalUnitaryARConfig
from lopt.incontext import AutoregressiveAttention
from lopt.tasks import DiagonalUnitaryAR, SparseInitial, closed_form_loss
from lopt.training import jit_repeated
from lopt.types import Key, Metrics, Theta

FLOW_STEP = 0.5
"""Duration of a Runge-Kutta step, in units of the inverse curvature."""


@dataclass(frozen=True)
class Variant:
    """A distribution of sequences, and whether the model's gradients are masked.

    Attributes:
        name: as in metrics and tables.
        task: distribution of sequences.
        masked: whether gradients of off-diagonal entries are set to zero, so that the weights stay `structured`.
    """

    name: str
    task: DiagonalUnitaryAR
    masked: bool

    @property
    def model(self) -> AutoregressiveAttention:
        """The model that is trained."""
        return AutoregressiveAttention(self.task.dimensions)

    @property
    def nonzero_second_moment(self) -> float:
        """E x_{1j}^2 given that x_{1j} is not zero, which is the mean of prediction / target for c = 1."""
        nonzero = 1 / self.task.dimensions if isinstance(self.task.initial, SparseInitial) else 1.0
        return self.task.moments()[0] / nonzero

    def initial_theta(self, initial_weights: tuple[tuple[float, float], ...]) -> Theta:
        """Structured weights with leading axis `[I]`, one for every pair (a, b)."""
        return jax.tree.map(lambda *x: jnp.stack(x), *[self.model.structured(a, b) for a, b in initial_weights])

    def diagonal_means(self, theta: Theta) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """(a, b), as means over the two diagonals."""
        d = self.task.dimensions
        return jnp.diag(theta["kq"][d:, :d]).mean(), jnp.diag(theta["pv"][:, :d]).mean()

    def largest_off_diagonal(self, theta: Theta) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The largest absolute entry off the two diagonals: in the blocks of the diagonals, and in the other blocks."""
        d, diagonals = self.task.dimensions, self.model.structured(1.0, 1.0)
        blocks = {"pv": jnp.zeros((d, 2 * d)).at[:, :d].set(1.0), "kq": jnp.zeros((2 * d, 2 * d)).at[d:, :d].set(1.0)}
        off_diagonal = {part: jnp.abs(theta[part] * (1 - diagonals[part])) for part in theta}
        return (
            jnp.stack([(off_diagonal[part] * blocks[part]).max() for part in theta]).max(),
            jnp.stack([(off_diagonal[part] * (1 - blocks[part])).max() for part in theta]).max(),
        )

    def mask_gradient(self, gradient: Theta) -> Theta:
        """Set the gradients of off-diagonal entries to zero if the variant is masked; otherwise the identity."""
        diagonals = self.model.structured(1.0, 1.0)
        return jax.tree.map(jnp.multiply, gradient, diagonals) if self.masked else gradient

    def inverse_curvature(self, theta: Theta, initial: Float[Array, " 2"]) -> Float[Array, ""]:
        """One over the larger curvature of the loss: that at theta, or that at the limit from (a, b) = `initial`."""
        a, b = self.diagonal_means(theta)
        limit = jnp.hypot(initial[0] ** 2 - initial[1] ** 2, 2 * self.task.limit_product())  # a^2 + b^2 in the limit
        return 1 / (self.task.curvature(1.0, 0.0) * jnp.maximum(a**2 + b**2, limit))


def variants(config: DiagonalUnitaryARConfig) -> list[Variant]:
    """The variants that are trained: one per distribution of x_1, and for `ones` also the masked one."""
    result = []
    for name in config.initials:
        task = DiagonalUnitaryAR(
            dimensions=config.dimensions, length=config.length, initial=INITIALS[name](config.scale)
        )
        result.append(Variant(name, task, False))
        if name == "ones":
            result.append(Variant(name + MASKED, task, True))
    return result


def loss(variant: Variant, theta: Theta, xs: Array) -> Float[Array, ""]:
    """sum_{t=2}^{T-1} 1/2 |y_t - x_{t+1}|^2 of one sequence `[T, d]`."""
    errors = variant.model.apply(theta, xs)[1:-1] - xs[2:]
    return 0.5 * (jnp.square(errors.real) + jnp.square(errors.imag)).sum()


def sgd_step(
    config: DiagonalUnitaryARConfig, variant: Variant, key: Key, thetas: Theta, anneal: Float[Array, ""]
) -> tuple[Theta, Metrics]:
    """One step of stochastic gradient descent of all models; the models of a replica share their sequences.

    Args:
        config: batch size, step size and initial weights.
        variant: distribution of sequences and model.
        key: for the sequences.
        thetas: weights `[R, I, ...]` of R replicas and I pairs of initial weights.
        anneal: factor on the step size.
    """
    initials = jnp.array(config.initial_weights)

    def update(theta, initial, xs):
        def mean_loss(theta):
            return jax.vmap(lambda x: loss(variant, theta, x))(xs).mean()

        value, gradient = jax.value_and_grad(mean_loss)(theta)
        rate = config.step_size * anneal * variant.inverse_curvature(theta, initial)
        return jax.tree.map(lambda w, g: w - rate * g, theta, variant.mask_gradient(gradient)), value

    def replica(key, theta):
        xs = jax.vmap(variant.task.sample)(jax.random.split(key, config.batch))
        return jax.vmap(lambda t, i: update(t, i, xs))(theta, initials)

    thetas, values = jax.vmap(replica)(jax.random.split(key, config.replicas), thetas)
    a, b = jax.vmap(jax.vmap(variant.diagonal_means))(thetas)
    pairs = enumerate(config.initial_weights)
    metrics = {f"{variant.name}/ab from {x:g}, {y:g}": (a * b)[:, i].mean() for i, (x, y) in pairs}
    return thetas, metrics | {f"{variant.name}/loss": values.mean()}


def gradient_flow(
    variant: Variant, initial_weights: tuple[tuple[float, float], ...], num_steps: int
) -> tuple[Theta, Theta]:
    """The gradient flow of the exact expected loss, by the classical Runge-Kutta method.

    Time is rescaled by the inverse curvature in every step, which does not change the path.

    Args:
        variant: distribution of sequences and model.
        initial_weights: I pairs (a, b) from which the flow starts.
        num_steps: S, number of Runge-Kutta steps.

    Returns:
        The weights after the last step `[I, ...]`, and after every step `[S, I, ...]`.
    """
    exact = closed_form_loss(variant.task)
    gradient = jax.grad(lambda theta: exact(theta["pv"], theta["kq"]))

    def velocity(theta):
        return jax.tree.map(jnp.negative, variant.mask_gradient(gradient(theta)))

    def step(theta, initial):
        duration = FLOW_STEP * variant.inverse_curvature(theta, initial)

        def advance(slope, part):
            return jax.tree.map(lambda w, s: w + part * duration * s, theta, slope)

        first = velocity(theta)
        second = velocity(advance(first, 0.5))
        third = velocity(advance(second, 0.5))
        fourth = velocity(advance(third, 1.0))
        return jax.tree.map(
            lambda w, s, t, u, v: w + duration * (s + 2 * t + 2 * u + v) / 6, theta, first, second, third, fourth
        )

    def body(thetas, _):
        thetas = jax.vmap(step)(thetas, jnp.array(initial_weights))
        return thetas, thetas

    initial_thetas = variant.initial_theta(initial_weights)
    return jit_repeated(lambda thetas: jax.lax.scan(body, thetas, length=num_steps))(initial_thetas)


@dataclass(frozen=True)
class Evaluation:
    """Predictions of a model on new sequences.

    Attributes:
        errors: relative squared errors |y_t - x_{t+1}|^2 / E |x_{t+1}|^2 at t = 2, ..., T - 1, `[sequences, T - 2]`.
        ratios: real part of prediction / target at t = T - 1, mean over the coordinates whose target is not zero,
            `[sequences]`.
        slopes: sums of Re(A^* x) and of |A|^2 over positions and coordinates, where A is the one-step prediction with
            c = 1, `[sequences, 2]`; their ratio estimates c.
    """

    errors: np.ndarray
    ratios: np.ndarray
    slopes: np.ndarray


def evaluate(variant: Variant, theta: Theta, seed: int, number: int) -> Evaluation:
    """Evaluate the weights `theta` on `number` sequences of a seed that training does not use."""
    unit = variant.model.structured(1.0, 1.0)
    scale = variant.task.moments()[0] * variant.task.dimensions

    def one_sequence(key: Key):
        xs = variant.task.sample(key)
        targets = xs[2:]
        ys, step = (variant.model.apply(weights, xs)[1:-1] for weights in (theta, unit))
        square = _square(targets[-1])
        nonzero = square > 0
        ratio = (ys[-1] * targets[-1].conj()).real / jnp.where(nonzero, square, 1.0)
        slopes = jnp.stack([(step.conj() * targets).real.sum(), _square(step).sum()])
        return _square(ys - targets).sum(-1) / scale, ratio.sum(where=nonzero) / nonzero.sum(), slopes

    many = jit_repeated(lambda keys: jax.lax.map(one_sequence, keys, batch_size=min(256, number)))
    return Evaluation(*(np.asarray(x, np.float64) for x in many(jax.random.split(jax.random.key(seed), number))))


def _square(x: Array) -> Array:
    """|x|^2, element-wise."""
    return jnp.square(x.real) + jnp.square(x.imag)
