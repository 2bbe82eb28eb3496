"""Linear attention on rotating sequences: trained on samples, and along the exact gradient flow."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from experiments.common.compiling import often
from experiments.mesa.config import CLIPPED, STARTS, RotationsConfig
from lopt.incontext import AutoregressiveAttention
from lopt.tasks import Rotations, SparseStart, population_loss
from lopt.types import Key, Metrics, Theta

FLOW_STEP = 0.5


@dataclass(frozen=True)
class Variant:
    """A distribution of starts, and whether the entries beside the diagonals are held at zero."""

    name: str
    task: Rotations
    clipped: bool

    @property
    def model(self) -> AutoregressiveAttention:
        """What is trained."""
        return AutoregressiveAttention(self.task.dimensions)

    @property
    def square(self) -> float:
        """E x_{1j}^2 of a coordinate that is not zero: prediction over truth in the mean, where c = 1."""
        present = 1 / self.task.dimensions if isinstance(self.task.start, SparseStart) else 1.0
        return self.task.moments()[0] / present

    def births(self, inits: tuple[tuple[float, float], ...]) -> Theta:
        """Structured weights `[inits, ...]`."""
        return jax.tree.map(lambda *x: jnp.stack(x), *[self.model.structured(a, b) for a, b in inits])

    def sizes(self, theta: Theta) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """a and b, means over the diagonals."""
        d = self.task.dimensions
        return jnp.diag(theta["kq"][d:, :d]).mean(), jnp.diag(theta["pv"][:, :d]).mean()

    def outside(self, theta: Theta) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The greatest entry beside the two diagonals, in their own blocks and in the other blocks."""
        d, own = self.task.dimensions, self.model.structured(1.0, 1.0)
        mine = {"pv": jnp.zeros((d, 2 * d)).at[:, :d].set(1.0), "kq": jnp.zeros((2 * d, 2 * d)).at[d:, :d].set(1.0)}
        beside = {part: jnp.abs(theta[part] * (1 - own[part])) for part in theta}
        return (
            jnp.stack([(beside[part] * mine[part]).max() for part in theta]).max(),
            jnp.stack([(beside[part] * (1 - mine[part])).max() for part in theta]).max(),
        )

    def masked(self, gradient: Theta) -> Theta:
        """Without the entries that are held."""
        kept = self.model.structured(1.0, 1.0)
        return jax.tree.map(jnp.multiply, gradient, kept) if self.clipped else gradient

    def clock(self, theta: Theta, init: Float[Array, " 2"]) -> Float[Array, ""]:
        """One over the curvature at this point of the way from a, b = init, or at its end if it is greater there."""
        a, b = self.sizes(theta)
        end = jnp.hypot(init[0] ** 2 - init[1] ** 2, 2 * self.task.limit_product())  # a^2 + b^2 in the limit
        return 1 / (self.task.curvature(1.0, 0.0) * jnp.maximum(a**2 + b**2, end))


def variants(config: RotationsConfig) -> list[Variant]:
    """What is trained; where starts break the symmetry, also with the structure held."""
    found = []
    for name in config.starts:
        task = Rotations(config.dimensions, config.length, STARTS[name](config.scale))
        found.append(Variant(name, task, False))
        if name == "ones":
            found.append(Variant(name + CLIPPED, task, True))
    return found


def loss(variant: Variant, theta: Theta, xs: Array) -> Float[Array, ""]:
    """sum_{t=2}^{T-1} 1/2 |y_t - x_{t+1}|^2 of one sequence."""
    errors = variant.model.apply(theta, xs)[1:-1] - xs[2:]
    return 0.5 * (jnp.square(errors.real) + jnp.square(errors.imag)).sum()


def descend(
    config: RotationsConfig, variant: Variant, key: Key, thetas: Theta, anneal: Float[Array, ""]
) -> tuple[Theta, Metrics]:
    """One step of all replicas and inits `[R, I, ...]`; a replica's inits are shown the same sequences."""
    starts = jnp.array(config.inits)

    def one(theta, init, xs):
        def mean_loss(theta):
            return jax.vmap(lambda x: loss(variant, theta, x))(xs).mean()

        value, gradient = jax.value_and_grad(mean_loss)(theta)
        rate = config.rate * anneal * variant.clock(theta, init)
        return jax.tree.map(lambda w, g: w - rate * g, theta, variant.masked(gradient)), value

    def replica(key, theta):
        xs = jax.vmap(variant.task.sample)(jax.random.split(key, config.batch))
        return jax.vmap(lambda t, i: one(t, i, xs))(theta, starts)

    thetas, values = jax.vmap(replica)(jax.random.split(key, config.replicas), thetas)
    a, b = jax.vmap(jax.vmap(variant.sizes))(thetas)
    metrics = {f"{variant.name}/ab from {x:g}, {y:g}": (a * b)[:, i].mean() for i, (x, y) in enumerate(config.inits)}
    return thetas, metrics | {f"{variant.name}/loss": values.mean()}


def flow(variant: Variant, inits: tuple[tuple[float, float], ...], num_steps: int) -> tuple[Theta, Theta]:
    """The gradient flow of the expected loss, by the classical Runge-Kutta method: `(last [I, ...], path [S, I, ...])`.

    The clock is rescaled as it goes, which leaves the path as it is.
    """
    exact = population_loss(variant.task)
    gradient = jax.grad(lambda theta: exact(theta["pv"], theta["kq"]))

    def velocity(theta):
        return jax.tree.map(jnp.negative, variant.masked(gradient(theta)))

    def step(theta, init):
        time = FLOW_STEP * variant.clock(theta, init)

        def ahead(slope, part):
            return jax.tree.map(lambda w, s: w + part * time * s, theta, slope)

        first = velocity(theta)
        second = velocity(ahead(first, 0.5))
        third = velocity(ahead(second, 0.5))
        fourth = velocity(ahead(third, 1.0))
        return jax.tree.map(
            lambda w, s, t, u, v: w + time * (s + 2 * t + 2 * u + v) / 6, theta, first, second, third, fourth
        )

    def body(thetas, _):
        thetas = jax.vmap(step)(thetas, jnp.array(inits))
        return thetas, thetas

    return often(lambda thetas: jax.lax.scan(body, thetas, length=num_steps))(variant.births(inits))


@dataclass(frozen=True)
class Tested:
    """A trained model on fresh sequences.

    Attributes:
        errors: squared error at t = 2, ..., T - 1 over the expected square of x, `[sequences, T - 2]`.
        ratios: prediction over truth at the last position, real part, mean over the coordinates that are not zero,
            `[sequences]`.
        slopes: sums of Re(A^* x) and |A|^2 over positions and coordinates for y = c A, `[sequences, 2]`.
    """

    errors: np.ndarray
    ratios: np.ndarray
    slopes: np.ndarray


def measure(variant: Variant, theta: Theta, seed: int, number: int) -> Tested:
    """The weights `theta` on sequences that no training has seen."""
    unit = variant.model.structured(1.0, 1.0)
    scale = variant.task.moments()[0] * variant.task.dimensions

    def tested(key: Key):
        xs = variant.task.sample(key)
        truth = xs[2:]
        ys, step = (variant.model.apply(weights, xs)[1:-1] for weights in (theta, unit))
        square = _square(truth[-1])
        there = square > 0
        ratio = (ys[-1] * truth[-1].conj()).real / jnp.where(there, square, 1.0)
        slopes = jnp.stack([(step.conj() * truth).real.sum(), _square(step).sum()])
        return _square(ys - truth).sum(-1) / scale, ratio.sum(where=there) / there.sum(), slopes

    many = often(lambda keys: jax.lax.map(tested, keys, batch_size=min(256, number)))
    return Tested(*(np.asarray(x, np.float64) for x in many(jax.random.split(jax.random.key(seed), number))))


def _square(x: Array) -> Array:
    return jnp.square(x.real) + jnp.square(x.imag)
