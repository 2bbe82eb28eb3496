"""A small network per parameter whose inputs include momenta at six time scales."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from lopt.optimizers import features
from lopt.optimizers.arguments import check_number, check_widths
from lopt.optimizers.per_parameter import (
    apply_to_all,
    bounded_step,
    check_theta,
    perceptron,
    transformation,
)
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
