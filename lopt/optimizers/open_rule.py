"""OPEN: a recurrent learned optimizer with features of training, layer and neuron, and learned exploration noise;
positions of layers in a network.
"""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from lopt.optimizers import features
from lopt.optimizers.arguments import check_number
from lopt.optimizers.per_parameter import apply_to_all, bounded_step, check_theta, transformation
from lopt.types import Key, Params, Progress, PyTree, Theta

INPUTS = 19


class OpenState(NamedTuple):
    """Number of updates so far, momenta `[*shape, 6]` and recurrent states `[*shape, recurrent]`."""

    count: Int[Array, ""]  # type: ignore[assignment]
    momenta: PyTree
    hidden: PyTree


class OpenNet(nn.Module):
    """A GRU and two dense layers, with the same weights for every row."""

    recurrent: int
    width: int

    @nn.compact
    def __call__(self, hidden: Float[Array, "*s H"], rows: Float[Array, "*s F"]):
        """The new hidden states `[*s, H]`, and three outputs per row, `[*s, 3]`."""
        hidden, x = nn.GRUCell(self.recurrent)(hidden, rows)
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return hidden, nn.Dense(3)(x)


@dataclass(frozen=True, kw_only=True)
class OpenRule:
    """OPEN, learned optimization for plasticity, exploration and non-stationarity: 1,211 meta-parameters.

    u = step_size (o_0 exp(exponent o_1) + explore o_2 noise), x <- x - (u - mean of u over all parameters), with o the
    network's outputs per parameter and noise ~ N(0, 1).

    The network has 19 inputs. Divided by their root mean square over the tensor: the parameter, and sign and log|.| of
    the gradient and of momenta at `features.DECAYS`. Not divided: the training progress, the position of the tensor's
    layer in its network (0 to 1, alike for kernel and bias), the batch fraction, and the dormancy of the neuron.

    Keyword arguments of `update` (see `LearnedOptimizer`) and what their absence means: without `progress`, training
    lasts `horizon` updates; `batch_fraction` is 0; `dormancy` is 1, that of a neuron as active as its layer; without
    `layer_position` all parameters are those of one network (`layer_positions`); without `explore` there is no noise.
    The authors clip gradients to the norm 0.5 first: put `optax.clip_by_global_norm` in front.

    Attributes:
        recurrent: width of the GRU.
        width: width of the two layers after it.
        step_size: scale of the step.
        exponent: scale of its log-magnitude.
        horizon: length of training in updates that is assumed without `progress`.

    Raises:
        ValueError: a size below one, a `step_size` or `exponent` that is not positive; in `update`, `explore` without
            `key`.

    Paper: arXiv 2407.07082, section 5 and appendix. Differs: their meta-training starts at theta = 0; here `init` is
        Flax's (evolution can start at zero here, too). Their progress is n / (N - 1) in update n of N, here n / N.
    """

    recurrent: int = 8
    width: int = 16
    step_size: float = 1e-3
    exponent: float = 1e-3
    horizon: int = 1000

    def __post_init__(self) -> None:
        for name in ("recurrent", "width", "horizon"):
            check_number("OpenRule", name, getattr(self, name), least=1)
        for name in ("step_size", "exponent"):
            check_number("OpenRule", name, getattr(self, name), above=0)

    @property
    def _net(self) -> OpenNet:
        return OpenNet(self.recurrent, self.width)

    def init(self, key: Key) -> Theta:
        """Flax's initial parameters of the network."""
        return self._net.init(key, jnp.zeros((1, self.recurrent)), jnp.zeros((1, INPUTS)))["params"]

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optax transformation with meta-parameters theta; its `update` needs the parameters."""
        check_theta("OpenRule", theta, jax.eval_shape(self.init, jax.random.key(0)))
        decays = jnp.array(features.DECAYS)

        def init(params: Params) -> OpenState:
            return OpenState(
                count=jnp.zeros((), jnp.int32),
                momenta=jax.tree.map(lambda p: features.zeros(p, len(features.DECAYS)), params),
                hidden=jax.tree.map(lambda p: features.zeros(p, self.recurrent), params),
            )

        def update(grads: PyTree, state: OpenState, params: Params, **extra: Any) -> tuple[PyTree, OpenState]:
            momenta = jax.tree.map(lambda m, g: features.accumulate(m, g, decays), state.momenta, grads)
            inputs = self._inputs(grads, params, momenta, state.count, extra)
            hidden, out = apply_to_all(self._net, theta, state.hidden, inputs)

            def noisy_step(o, noise):
                step = bounded_step(o[..., :2], self.step_size, self.exponent)
                return step + (self.step_size * o[..., 2] * noise).astype(step.dtype)

            steps = jax.tree.map(noisy_step, out, _noise(params, extra))
            mean = sum(s.sum() for s in jax.tree.leaves(steps)) / max(1, sum(p.size for p in jax.tree.leaves(params)))
            after = OpenState(optax.safe_increment(state.count), momenta, hidden)
            return jax.tree.map(lambda s: s - mean.astype(s.dtype), steps), after

        return transformation("OpenRule", init, update)

    def _inputs(self, grads: PyTree, params: Params, momenta: PyTree, count: Int[Array, ""], extra: dict[str, Any]):
        """The network's inputs for every parameter, a tree of `[*shape, 19]`."""
        progress: Progress | None = extra.get("progress")
        fraction = progress.fraction if progress is not None else jnp.minimum(count / self.horizon, 1.0)
        batch = jnp.asarray(extra.get("batch_fraction", 0.0))
        positions = extra.get("layer_position")
        if positions is None:
            positions = layer_positions(params)
        dormancy = extra.get("dormancy")
        if dormancy is None:
            dormancy = jax.tree.map(lambda p: jnp.ones((1,) * p.ndim), params)

        def network_inputs(g, p, m, position, dormancy):
            size = features.sign_and_log(jnp.concatenate([g[..., None], m], -1))
            columns = features.normalise(jnp.concatenate([p[..., None], size], -1))
            shared = jnp.stack([fraction.astype(p.dtype), jnp.asarray(position, p.dtype), batch.astype(p.dtype)])
            dormancy = (dormancy.astype(p.dtype) + jnp.zeros_like(p))[..., None]
            return jnp.concatenate([columns, features.broadcast_to_tensor(shared, p), dormancy], -1)

        return jax.tree.map(network_inputs, grads, params, momenta, positions, dormancy)


def _noise(params: Params, extra: dict[str, Any]) -> PyTree:
    """The exploration noise: `explore` times N(0, 1) for every parameter, 0 without `explore`."""
    explore = extra.get("explore")
    if explore is None:
        return jax.tree.map(lambda p: 0.0, params)
    if extra.get("key") is None:
        raise ValueError("OpenRule: explore needs a key for its noise (got explore without key)")
    drawn = optax.tree.random_like(extra["key"], params, jax.random.normal)
    scale = jax.tree.broadcast(explore, params)
    return jax.tree.map(jnp.multiply, scale, drawn)


def layer_positions(params: Params) -> PyTree:
    """The position of each tensor's layer in its network, a tree of numbers from 0 (first layer) to 1 (last layer).

    The position is i / (L - 1) for layer i of L, and 0 if there is one layer. A layer is a dictionary of arrays, such
    as the kernel and the bias of a dense layer, which have the same position. An array beside dictionaries, such as
    `log_std` of `lopt.nets.GaussianPolicy`, is a layer of its own. Layers are in the order of their names, with numbers
    as numbers: Dense_2 comes before Dense_10, and names in capitals before others. That is the order of computation of
    `lopt.nets.MLP` and `Conv`; for other networks give the positions yourself.

    Args:
        params: parameters of one network. Two networks are numbered apart: call this for each of them.

    Example:
        layer_positions(params)  # {"Dense_0": {"bias": 0.0, "kernel": 0.0}, "Dense_1": {"bias": 1.0, "kernel": 1.0}}

    Paper: arXiv 2407.07082, "layer proportion" (values: the code of AlexGoldie/rl-learned-optimization).
    """
    paths = [path for path, _ in jax.tree.leaves_with_path(params)]
    beyond = {path[:depth] for path in paths for depth in range(len(path) - 1)}
    layers = [path if path[:-1] in beyond else path[:-1] for path in paths]
    index = {layer: i for i, layer in enumerate(sorted(set(layers), key=_in_order))}
    positions = [index[layer] / max(len(index) - 1, 1) for layer in layers]
    return jax.tree.unflatten(jax.tree.structure(params), positions)


def _in_order(path: tuple[Any, ...]) -> list[list[tuple[int, Any]]]:
    """A sort key of a path, which compares runs of digits as numbers."""
    return [
        [(0, int(part)) if part.isdigit() else (1, part) for part in re.findall(r"\d+|\D+", str(entry))]
        for entry in path
    ]
