"""OPEN: a recurrent rule that is told of training, layer and neuron, and may ask for noise."""

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
    """How many updates there were, momenta `[*shape, 6]` and recurrent states `[*shape, recurrent]`."""

    count: Int[Array, ""]  # type: ignore[assignment]
    momenta: PyTree
    hidden: PyTree


class OpenNet(nn.Module):
    """A GRU and two layers, the same for every row."""

    recurrent: int
    width: int

    @nn.compact
    def __call__(self, hidden: Float[Array, "*s H"], rows: Float[Array, "*s F"]):
        """The new hidden states, and three outputs per row."""
        hidden, x = nn.GRUCell(self.recurrent)(hidden, rows)
        for _ in range(2):
            x = nn.relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return hidden, nn.Dense(3)(x)


@dataclass(frozen=True)
class OpenRule:
    """Learned optimization for plasticity, exploration and non-stationarity: 1,211 meta-parameters.

    u = step_size (o_0 exp(exponent o_1) + explore o_2 noise), x <- x - (u - mean of u over all parameters), with o a
    network's outputs for one parameter and noise ~ N(0, 1).

    Its 19 inputs. Divided by their root mean square over the tensor: the parameter, and sign and log|.| of the gradient
    and of momenta at `features.DECAYS`. As they are: the part of training that is over, the tensor's place among all
    (0 to 1), the part of the epoch that is over, and the dormancy of the neuron.

    What `update` is not told (see `LearnedOptimizer`) is assumed: without `progress`, training is as long as `horizon`;
    `batch_fraction` is 0; `dormancy` is 1, that of a neuron as active as its layer; there is no noise without
    `explore`. The authors clip gradients to the norm 0.5 before: put `optax.clip_by_global_norm` in front.

    Attributes:
        recurrent: width of the GRU.
        width: width of the two layers after it.
        step_size: scale of the step.
        exponent: scale of its log-magnitude.
        horizon: updates of a training run whose length is not told.

    Raises:
        ValueError: a size below one, a `step_size` or `exponent` that is not positive; in `update`, `explore` without
            `key`.

    Paper: arXiv 2407.07082, section 5 and appendix. Differs: their meta-training starts at theta = 0; here `init` is
        Flax's (evolution can start at zero here, too).
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
        """The network's parameters, as Flax initialises them."""
        return self._net.init(key, jnp.zeros((1, self.recurrent)), jnp.zeros((1, INPUTS)))["params"]

    def as_optax(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        """The optimizer of theta; it needs the parameters."""
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
            seen = self._see(grads, params, momenta, state.count, extra)
            hidden, out = apply_to_all(self._net, theta, state.hidden, seen)

            def move(o, noise):
                step = bounded_step(o[..., :2], self.step_size, self.exponent)
                return step + (self.step_size * o[..., 2] * noise).astype(step.dtype)

            steps = jax.tree.map(move, out, _noise(params, extra))
            mean = sum(s.sum() for s in jax.tree.leaves(steps)) / max(1, sum(p.size for p in jax.tree.leaves(params)))
            after = OpenState(optax.safe_increment(state.count), momenta, hidden)
            return jax.tree.map(lambda s: s - mean.astype(s.dtype), steps), after

        return transformation("OpenRule", init, update)

    def _see(self, grads: PyTree, params: Params, momenta: PyTree, count: Int[Array, ""], extra: dict[str, Any]):
        progress: Progress | None = extra.get("progress")
        told = progress.fraction if progress is not None else jnp.minimum(count / self.horizon, 1.0)
        batch = jnp.asarray(extra.get("batch_fraction", 0.0))
        number = len(jax.tree.leaves(params))
        places = jax.tree.unflatten(jax.tree.structure(params), [i / max(number - 1, 1) for i in range(number)])
        dormancy = extra.get("dormancy")
        if dormancy is None:
            dormancy = jax.tree.map(lambda p: jnp.ones((1,) * p.ndim), params)

        def see(g, p, m, place, idle):
            size = features.sign_and_log(jnp.concatenate([g[..., None], m], -1))
            seen = features.normalise(jnp.concatenate([p[..., None], size], -1))
            same = jnp.stack([told.astype(p.dtype), jnp.asarray(place, p.dtype), batch.astype(p.dtype)])
            idle = (idle.astype(p.dtype) + jnp.zeros_like(p))[..., None]
            return jnp.concatenate([seen, features.everywhere(same, p), idle], -1)

        return jax.tree.map(see, grads, params, momenta, places, dormancy)


def _noise(params: Params, extra: dict[str, Any]) -> PyTree:
    """N(0, 1) for the parameters that explore, 0 for the others."""
    explore = extra.get("explore")
    if explore is None:
        return jax.tree.map(lambda p: 0.0, params)
    if extra.get("key") is None:
        raise ValueError("OpenRule: explore needs a key for its noise (got explore without key)")
    drawn = optax.tree.random_like(extra["key"], params, jax.random.normal)
    where = jax.tree.broadcast(explore, params)
    return jax.tree.map(jnp.multiply, where, drawn)
