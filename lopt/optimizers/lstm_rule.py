"""The learned optimizer of arXiv 1606.04474: an LSTM for every coordinate."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from lopt.optimizers import features
from lopt.optimizers.arguments import check_number
from lopt.optimizers.per_parameter import apply_to_all, check_theta, transformation
from lopt.types import Key, Params, PyTree, Theta


class LSTMState(NamedTuple):
    """Recurrent states of all coordinates, cell and hidden state of each layer: `[*shape, 2 layers hidden]`."""

    recurrent: PyTree


class LSTMNet(nn.Module):
    """Stacked LSTMs and a linear output, with the same weights for every row."""

    hidden: int
    layers: int

    @nn.compact
    def __call__(self, states: Float[Array, "*s S"], rows: Float[Array, "*s 2"]):
        """The new states `[*s, S]`, and one output per row, `[*s, 1]`."""
        new_states, x = [], rows
        for layer in range(self.layers):
            c, h = jnp.split(states[..., 2 * layer * self.hidden : 2 * (layer + 1) * self.hidden], 2, -1)
            (c, h), x = nn.OptimizedLSTMCell(self.hidden)((c, h), x)
            new_states += [c, h]
        return jnp.concatenate(new_states, -1), nn.Dense(1)(x)


@dataclass(frozen=True, kw_only=True)
class LSTMRule:
    """Learned optimizer x <- x - scale LSTM(preprocessed gradient): one small LSTM per coordinate, with shared weights.

    A gradient g is preprocessed to (log|g| / p, sign g) where |g| >= e^-p, else to (-1, e^p g).

    Attributes:
        hidden: width of each LSTM.
        layers: number of stacked LSTMs.
        scale: scale of the output.
        p: the threshold of the preprocessing is |g| = e^-p.

    Raises:
        ValueError: a size below one; a `scale` or `p` that is not positive.

    Paper: arXiv 1606.04474, section 2 and appendix A. Differs: the output is subtracted, not added.
    """

    hidden: int = 20
    layers: int = 2
    scale: float = 0.1
    p: float = 10.0

    def __post_init__(self) -> None:
        for name in ("hidden", "layers"):
            check_number("LSTMRule", name, getattr(self, name), least=1)
        for name in ("scale", "p"):
            check_number("LSTMRule", name, getattr(self, name), above=0)

    @property
    def _net(self) -> LSTMNet:
        return LSTMNet(self.hidden, self.layers)

    def init(self, key: Key) -> Theta:
        """Flax's initial parameters of the network."""
        return self._net.init(key, jnp.zeros((1, 2 * self.layers * self.hidden)), jnp.zeros((1, 2)))["params"]

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; `update` works without the parameters."""
        check_theta("LSTMRule", theta, jax.eval_shape(self.init, jax.random.key(0)))

        def init(params: Params) -> LSTMState:
            return LSTMState(jax.tree.map(lambda p: features.zeros(p, 2 * self.layers * self.hidden), params))

        def update(grads: PyTree, state: LSTMState, params: Params, **extra: Any) -> tuple[PyTree, LSTMState]:
            inputs = jax.tree.map(lambda g: preprocess_gradient(g, self.p), grads)
            new_states, out = apply_to_all(self._net, theta, state.recurrent, inputs)
            return jax.tree.map(lambda o: self.scale * o[..., 0], out), LSTMState(new_states)

        return transformation("LSTMRule", init, update, needs_params=False)


def preprocess_gradient(gradient: Float[Array, "*s"], p: float) -> Float[Array, "*s 2"]:
    """The two inputs of the LSTM for each gradient element: scaled log-magnitude and sign, both about in [-1, 1].

    Paper: arXiv 1606.04474, appendix A.
    """
    size = jnp.abs(gradient)
    large = size >= jnp.exp(-p)
    first = jnp.where(large, jnp.log(jnp.where(large, size, 1.0)) / p, -1.0)
    return jnp.stack([first, jnp.where(large, jnp.sign(gradient), jnp.exp(p) * gradient)], -1)
