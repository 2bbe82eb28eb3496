"""Learned optimizers with a small network per parameter: of momenta, and of momenta and factored second moments."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.optimizers import features
from lopt.optimizers.arguments import check_number, check_widths
from lopt.optimizers.per_parameter import apply_to_all, bounded_step, check_theta, perceptron, transformation
from lopt.types import Key, Params, PyTree, Theta


class MLPState(NamedTuple):
    """Number of updates so far, and momenta `[*shape, 6]`."""

    count: Int[Array, ""]  # type: ignore[assignment]
    momenta: PyTree


@dataclass(frozen=True, kw_only=True)
class MLPRule:
    """Learned optimizer x <- x - step_size d exp(exponent m), with (d, m) an MLP's outputs per parameter.

    The MLP has 19 inputs: the gradient, the parameter, momenta at `features.DECAYS` (each divided by its root mean
    square over the tensor), and 11 features of the number of updates.

    Attributes:
        hidden: widths of the network's ReLU layers.
        step_size: scale of the direction d.
        exponent: scale of the log-magnitude m.

    Raises:
        ValueError: a width below one, a `step_size` or `exponent` that is not positive.

    Paper: arXiv 1810.10180 and arXiv 2009.11243, the "MLP" optimizer; 19 inputs as in google/learned_optimization.
    Differs: the output layer is initialised ten times smaller.
    """

    hidden: tuple[int, ...] = (32, 32)
    step_size: float = 1e-3
    exponent: float = 1e-3

    def __post_init__(self) -> None:
        check_widths("MLPRule", self.hidden)
        check_number("MLPRule", "step_size", self.step_size, above=0)
        check_number("MLPRule", "exponent", self.exponent, above=0)

    @property
    def _net(self) -> nn.Sequential:
        return perceptron(self.hidden, 2)

    def init(self, key: Key) -> Theta:
        """The network's weights (LeCun normal, the output layer a tenth of it) and biases (zeros)."""
        return self._net.init(key, jnp.zeros((1, 8 + len(features.TIME_SCALES))))["params"]

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; its `update` needs the parameters."""
        check_theta("MLPRule", theta, jax.eval_shape(self.init, jax.random.key(0)))
        decays = jnp.array(features.DECAYS)

        def init(params: Params) -> MLPState:
            momenta = jax.tree.map(lambda p: features.zeros(p, len(features.DECAYS)), params)
            return MLPState(jnp.zeros((), jnp.int32), momenta)

        def update(grads: PyTree, state: MLPState, params: Params, **extra: Any) -> tuple[PyTree, MLPState]:
            momenta = jax.tree.map(lambda m, g: features.accumulate(m, g, decays), state.momenta, grads)
            time = features.time(state.count)

            def network_inputs(g, p, m):
                columns = features.normalise(jnp.concatenate([g[..., None], p[..., None], m], -1))
                return jnp.concatenate([columns, features.broadcast_to_tensor(time, p)], -1)

            out = apply_to_all(self._net, theta, jax.tree.map(network_inputs, grads, params, momenta))
            step = jax.tree.map(lambda o: bounded_step(o, self.step_size, self.exponent), out)
            return step, MLPState(optax.safe_increment(state.count), momenta)

        return transformation("MLPRule", init, update)


MOMENTA, SQUARES, FACTORED = (0.9, 0.99, 0.999), (0.999,), (0.9, 0.99, 0.999)
INPUTS = 39


class AdafactorState(NamedTuple):
    """Number of updates so far, and running means: momenta, second moments, factored second moments."""

    count: Int[Array, ""]  # type: ignore[assignment]
    momenta: PyTree
    squares: PyTree
    factored: PyTree


@dataclass(frozen=True, kw_only=True)
class AdafactorRule:
    """Learned optimizer x <- x - step_size d exp(exponent m), with (d, m) an MLP's outputs per parameter.

    With the default width it has 197 meta-parameters. The MLP has 39 inputs. Divided by their root mean square over the
    tensor: the gradient g, the parameter p, three momenta m, the second moment v, 1 / sqrt v, m / sqrt v; for three
    time scales of Adafactor's row and column moments r and c: g a with a = sqrt(mean r / (r c)), m a, r, c, 1 / sqrt r,
    1 / sqrt c. Not divided: 11 features of the number of updates. The seven decays are meta-parameters, too, as
    log(1 - decay) / 10.

    Attributes:
        hidden: widths of the network's ReLU layers.
        step_size: scale of the direction d.
        exponent: scale of the log-magnitude m.

    Raises:
        ValueError: a width below one, a `step_size` or `exponent` that is not positive.

    Paper: arXiv 2203.11860 ("small_fc_lopt"). Differs: a vector's column moment is its mean, where the authors' code
        repeats the vector; its row moment, and so g a, is the same. The output layer is initialised ten times smaller.
    """

    hidden: tuple[int, ...] = (4, 4)
    step_size: float = 1e-3
    exponent: float = 1e-3

    def __post_init__(self) -> None:
        check_widths("AdafactorRule", self.hidden)
        check_number("AdafactorRule", "step_size", self.step_size, above=0)
        check_number("AdafactorRule", "exponent", self.exponent, above=0)

    @property
    def _net(self) -> nn.Sequential:
        return perceptron(self.hidden, 2)

    def init(self, key: Key) -> Theta:
        """The network's weights (LeCun normal, the output layer a tenth of it), biases (zeros), and the decays."""
        decays = {"momenta": MOMENTA, "squares": SQUARES, "factored": FACTORED}
        logs = {name: jnp.log1p(-jnp.array(values)) / 10 for name, values in decays.items()}
        return {"decays": logs, "net": self._net.init(key, jnp.zeros((1, INPUTS)))["params"]}

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; its `update` needs the parameters."""
        check_theta("AdafactorRule", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> AdafactorState:
            return AdafactorState(
                count=jnp.zeros((), jnp.int32),
                momenta=jax.tree.map(lambda p: features.zeros(p, len(MOMENTA)), params),
                squares=jax.tree.map(lambda p: features.zeros(p, len(SQUARES)), params),
                factored=jax.tree.map(lambda p: features.factored_zeros(p, len(FACTORED)), params),
            )

        def update(grads: PyTree, state: AdafactorState, params: Params, **extra: Any) -> tuple[PyTree, AdafactorState]:
            decays = {name: 1 - jnp.exp(10 * x) for name, x in theta["decays"].items()}

            def accumulate(g, m, v, f):
                return (
                    features.accumulate(m, g, decays["momenta"]),
                    features.accumulate(v, jnp.square(g), decays["squares"]),
                    features.accumulate_factored(f, g, decays["factored"]),
                )

            moments = jax.tree.map(accumulate, grads, state.momenta, state.squares, state.factored)
            momenta, squares, factored = (jax.tree.map(lambda g, k, i=i: k[i], grads, moments) for i in range(3))
            time = features.time(state.count)

            def network_inputs(g, p, m, v, f):
                return jnp.concatenate(
                    [features.normalise(parameter_features(g, p, m, v, f)), features.broadcast_to_tensor(time, p)], -1
                )

            inputs = jax.tree.map(network_inputs, grads, params, momenta, squares, factored)
            out = apply_to_all(self._net, theta["net"], inputs)
            step = jax.tree.map(lambda o: bounded_step(o, self.step_size, self.exponent), out)
            return step, AdafactorState(optax.safe_increment(state.count), momenta, squares, factored)

        return transformation("AdafactorRule", init, update)


def parameter_features(
    g: Float[Array, "*s"],
    p: Float[Array, "*s"],
    m: Float[Array, "*s 3"],
    v: Float[Array, "*s 1"],
    factored: features.Factored,
) -> Float[Array, "*s 28"]:
    """The 28 features of each parameter, without those of time and before normalisation."""
    scale = features.factored_rsqrt(factored, g.shape)
    full = [x + jnp.zeros_like(g)[..., None] for x in (factored.rows, factored.columns)]
    root = jax.lax.rsqrt(v + 1e-6)
    gradient = g[..., None]
    columns = [gradient, p[..., None], m, v, m * root, root, gradient * scale, m * scale, *full]
    return jnp.concatenate([*columns, *(jax.lax.rsqrt(x + 1e-8) for x in full)], -1)
