"""A learned optimizer whose inputs and steps are normalised, with Adam's direction as its initial one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from lopt.optimizers import features
from lopt.optimizers.arguments import at_least_float32, check_number, check_widths, descend
from lopt.optimizers.per_parameter import check_theta, transformation
from lopt.types import Key, Params, PyTree, Theta

FAST, SLOW, SQUARES, FACTORED = 0.9, 0.99, 0.95, 0.99
"""Decays of the two momenta, of the second moment and of its factored form."""
EPSILON = 1e-6
"""Added to second moments relative to their mean over the tensor."""
INPUTS = 12
NOMINAL = (0, 8, 10)
"""Inputs of the network that are also terms of the direction: Adam's, the factored and the sign momentum."""


class NormalisedState(NamedTuple):
    """Running means without bias correction, trees like the parameters in float32 or wider.

    `fast` and `slow` are of the gradient, `squares` of its square, `rows` and `columns` of the square's means over the
    rows and columns of each tensor (`features.matrix_axes`).
    """

    fast: PyTree
    slow: PyTree
    squares: PyTree
    rows: PyTree
    columns: PyTree


@dataclass(frozen=True, kw_only=True)
class NormalisedRule:
    """Learned optimizer x <- x - learning_rate unit(a . nominal + MLP(inputs)), the same for every parameter.

    unit(y) = y / sqrt(mean y^2), the mean over the tensor: the step of every tensor has the root mean square
    `learning_rate`, whatever the scale of the loss. Learning rate, its schedule, weight decay and clipping are the
    user's, as for Adam. With m, n the momenta (decays 0.9, 0.99), v the second moment (0.95, plus 1e-6 of its mean over
    the tensor) and f the factored 1 / sqrt of the second moment (0.99), the 12 inputs of a parameter p with gradient g
    are

        m / sqrt(v)   n / sqrt(v)   g / sqrt(v)   g   p   m   n   g f   m f   n f   sign(m)   sign(g) sqrt|g|

    each passed through unit. The nominal terms are the inputs m / sqrt(v), m f and sign(m), with learned weights a that
    are initially (1, 0, 0). The output layer is initially zero, so that the initial rule is Adam (b1 = 0.9,
    b2 = 0.95) with normalised steps. Gradients of another scale give the same steps. A parameter whose gradients have
    all been zero does not move.

    The network is evaluated input by input, in arithmetic on whole tensors: no array of all inputs of all parameters
    exists. The program grows with the number of tensors.

    Attributes:
        hidden: widths of the network's ReLU layers.
        learning_rate: root mean square of a step, of `as_optax`; `direction` has none.

    Raises:
        ValueError: a width below one, a `learning_rate` that is not positive.

    Paper: after Celo2, arXiv 2602.19142; nominal terms: arXiv 2209.11208. Differs: Celo2 has 30 inputs, no nominal
        term, normalises inputs over the last two axes and clips gradients to 1000; here inputs are normalised over the
        tensor, like steps.
    """

    hidden: tuple[int, ...] = (6, 6)
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        check_widths("NormalisedRule", self.hidden)
        check_number("NormalisedRule", "learning_rate", self.learning_rate, above=0)

    def init(self, key: Key) -> Theta:
        """Nominal weights (1, 0, 0), and the network's weights: LeCun normal, zero in the output layer and biases."""
        widths = (INPUTS, *self.hidden, 1)
        keys = jax.random.split(key, len(widths))
        net = {}
        for i, (fan_in, fan_out) in enumerate(zip(widths, widths[1:], strict=False)):
            last = i == len(self.hidden)
            kernel = nn.initializers.zeros if last else nn.initializers.lecun_normal()
            net[f"layers_{i}"] = {"kernel": kernel(keys[i], (fan_in, fan_out)), "bias": jnp.zeros(fan_out)}
        return {"net": net, "nominal": jnp.array([1.0, 0.0, 0.0])}

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optimizer with meta-parameters theta, with steps of root mean square `learning_rate`."""
        return self._transformation(theta, self.learning_rate)

    def direction(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The normalised direction alone, like `optax.scale_by_adam`: for `optax.chain` with a learning rate after it.

        Example:
            optax.chain(rule.direction(theta), optax.scale_by_learning_rate(schedule))
        """
        return self._transformation(theta, -1.0)

    def optimizer(
        self,
        theta: Theta,
        learning_rate: ArrayLike | optax.Schedule,
        weight_decay: ArrayLike | optax.Schedule = 0.0,
        mask: Any = None,
    ) -> optax.GradientTransformationExtraArgs:
        """x <- x - learning_rate (direction + weight_decay x), with a learning rate or schedule of the user's.

        Args:
            theta: meta-parameters.
            learning_rate: root mean square of a step; a number, an array or a schedule.
            weight_decay: decoupled, multiplied by the learning rate; likewise.
            mask: which leaves decay: a tree of booleans, a prefix of one, or a function from parameters to it.

        Raises:
            ValueError: a learning rate that is not positive, a negative weight decay, and those of another type.
        """
        return descend("NormalisedRule", self.direction(theta), learning_rate, weight_decay, mask)

    def _transformation(self, theta: Theta, rate: float) -> optax.GradientTransformationExtraArgs:
        """The transformation whose updates are -rate times the direction."""
        check_theta("NormalisedRule", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> NormalisedState:
            # separate trees of zeros: their buffers may be donated
            fast, slow, squares = (jax.tree.map(_zeros, params) for _ in range(3))
            rows, columns = (
                jax.tree.map(lambda p, i=i: features.mean(_zeros(p), features.matrix_axes(p.shape)[i]), params)
                for i in range(2)
            )
            return NormalisedState(fast, slow, squares, rows, columns)

        def update(grads: PyTree, state: NormalisedState, params: Params, **extra: Any) -> tuple[PyTree, Any]:
            gradients = jax.tree.leaves(grads)
            structure: Any = jax.tree.structure(grads)
            moments: list[Any] = [structure.flatten_up_to(tree) for tree in state]
            steps, after = [], []
            for g, p, *old in zip(gradients, structure.flatten_up_to(params), *moments, strict=True):
                new = _accumulate(g, *old)
                steps.append(rate * _direction(theta, _inputs(g, p, *new), new[2]))
                after.append(new)
            unflattened = (structure.unflatten(tree) for tree in zip(*after, strict=True))
            return structure.unflatten(steps), NormalisedState(*unflattened)

        return transformation("NormalisedRule", init, update)


def _zeros(parameter: Array) -> Array:
    return jnp.zeros_like(at_least_float32(parameter))


def _accumulate(
    g: Array, fast: Array, slow: Array, squares: Array, rows: Array, columns: Array
) -> tuple[Array, Array, Array, Array, Array]:
    """The running means after one more gradient of a tensor."""

    def mean(decay: float, old: Array, x: Array) -> Array:
        return decay * old + (1 - decay) * x.astype(old.dtype)

    square, (over_rows, over_columns) = jnp.square(g), features.matrix_axes(g.shape)
    return (
        mean(FAST, fast, g),
        mean(SLOW, slow, g),
        mean(SQUARES, squares, square),
        mean(FACTORED, rows, features.mean(square, over_rows)),
        mean(FACTORED, columns, features.mean(square, over_columns)),
    )


def _inputs(g: Array, p: Array, m: Array, n: Array, v: Array, rows: Array, columns: Array) -> list[Array]:
    """The 12 inputs of a tensor's parameters before normalisation, arrays of its shape."""
    trained = v > 0
    # the root of one where v is zero: its derivative is not finite there
    root = jnp.where(trained, jax.lax.rsqrt(jnp.where(trained, v + EPSILON * _mean(v), 1.0)), 0.0)
    total = _mean(rows)
    total = jnp.where(total > 0, total, 1.0)
    factored = jax.lax.rsqrt(rows / total + EPSILON) * jax.lax.rsqrt(columns / total + EPSILON)
    relative = g * _inverse_rms(g)
    compressed = relative * jax.lax.rsqrt(jnp.abs(relative) + EPSILON)
    adaptive = [m * root, n * root, g * root]
    return [*adaptive, g, p, m, n, g * factored, m * factored, n * factored, jnp.sign(m), compressed]


def _direction(theta: Theta, inputs: Sequence[Array], squares: Array) -> Float[Array, "*s"]:
    """The normalised sum of nominal terms and network output of a tensor; zero where `squares` is."""
    scales = [_inverse_rms(x) for x in inputs]
    layers = [theta["net"][name] for name in sorted(theta["net"], key=lambda name: int(name.split("_")[1]))]
    x: list[Any] = list(inputs)
    scale: list[Any] = list(scales)
    for layer in layers:
        kernel, bias = layer["kernel"], layer["bias"]
        sums = [bias[j] + sum(kernel[i, j] * scale[i] * y for i, y in enumerate(x)) for j in range(bias.shape[0])]
        x, scale = [jax.nn.relu(y) for y in sums], [1.0] * len(sums)
    direction = sums[0] + sum(a * scales[i] * inputs[i] for a, i in zip(theta["nominal"], NOMINAL, strict=True))
    direction = jnp.where(squares > 0, direction, 0.0)
    return direction * _inverse_rms(direction)


def _mean(x: Array) -> Array:
    """Mean over the tensor, a scalar; zero without elements."""
    return x.sum() / max(1, x.size)


def _inverse_rms(x: Array) -> Array:
    """1 / sqrt(mean x^2), a scalar; zero for a tensor of zeros."""
    square = _mean(jnp.square(x))
    return jnp.where(square > 0, jax.lax.rsqrt(jnp.where(square > 0, square, 1.0)), 0.0)
