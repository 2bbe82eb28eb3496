"""DiscoRL's network: from value estimates and predictions to targets, with a recurrent state for the lifetime."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from lopt.nets import LSTM, ReverseLSTM, truncated_lecun
from lopt.objectives.disco.records import DebiasedMoments, DiscoInputs, ValueEstimates, signed_log, take_action

CHANNELS = (16, 2)
"""Widths of the two blocks over the actions; the last is that of their output e."""
COMPRESSED = 16
"""Width of the input of the lifetime LSTM."""


class Features(NamedTuple):
    """Inputs of the network that have no parameters in them.

    Attributes:
        steps: `[T, B, 9]`, of the steps.
        actions: `[T, B, A, 9]`, of the actions; two channels, of the predictions z, are zero.
        action: `[T, B, A]`, the action taken, one-hot.
        pi, pi_next: `[T, B, A]`, the policy at s_t and s'_t.
        y: probabilities `[4, T, B, M]`: at s_t and s'_t, then of the target network at s_t and s'_t.
        z: probabilities `[4, T, B, A, M]`, in the same order.
    """

    steps: Array
    actions: Array
    action: Array
    pi: Array
    pi_next: Array
    y: Array
    z: Array


def features(inputs: DiscoInputs, values: ValueEstimates, moments: DebiasedMoments) -> Features:
    """The features of a batch; a meta-gradient flows through y and z alone."""
    fixed = jax.lax.stop_gradient(inputs)
    traj = inputs.traj
    pi, mu, target_pi = (jax.nn.softmax(p) for p in (fixed.out.policy, fixed.behaviour, fixed.target.policy))
    steps = [
        take_action(pi, traj.action),
        take_action(mu, traj.action),
        signed_log(traj.reward),
        (traj.discount != 0).astype(pi.dtype),
        signed_log(values.value),
        signed_log(values.value_next),
        signed_log(values.advantage),
        moments.normalise(values.advantage),
        take_action(target_pi, traj.action),
    ]
    chosen = jax.nn.one_hot(traj.action, pi.shape[-1], dtype=pi.dtype)
    advantage = values.action_advantage
    zeros = jnp.zeros_like(pi)
    actions = [pi, mu, target_pi, zeros, zeros, signed_log(values.target_q), signed_log(advantage)]
    outputs = (inputs.out, inputs.out_next, inputs.target, inputs.target_next)
    return Features(
        steps=jnp.stack(steps, -1),
        actions=jnp.stack([*actions, moments.normalise(advantage), chosen], -1),
        action=chosen,
        pi=pi,
        pi_next=jax.nn.softmax(fixed.out_next.policy),
        y=jax.nn.softmax(jnp.stack([out.y for out in outputs])),
        z=jax.nn.softmax(jnp.stack([out.z for out in outputs])),
    )


def _dense(size: int, std: float | None = None, name: str | None = None) -> nn.Dense:
    init = truncated_lecun if std is None else nn.initializers.truncated_normal(std)
    return nn.Dense(size, kernel_init=init, name=name)


class Embedding(nn.Module):
    """A number for each distribution over M predictions: Dense(`hidden`), ReLU, Dense(1)."""

    hidden: int

    @nn.compact
    def __call__(self, p: Float[Array, "*b M"]) -> Float[Array, "*b"]:
        """The embedding of probabilities."""
        return _dense(1, name="output")(nn.relu(_dense(self.hidden, name="hidden")(p)))[..., 0]


class EquivariantBlock(nn.Module):
    """ReLU of one linear map of every action's channels beside their mean over the actions, for any number of actions.

        out_a = ReLU(W [x_a, mean_b x_b] + bias)

    A permutation of the actions permutes its outputs.

    Attributes:
        channels: the number of output channels.
    """

    channels: int

    @nn.compact
    def __call__(self, x: Float[Array, "*b A C"]) -> Float[Array, "*b A channels"]:
        """Outputs for every action."""
        mean = jnp.broadcast_to(x.mean(-2, keepdims=True), x.shape)
        return nn.relu(_dense(self.channels, name="linear")(jnp.concatenate([x, mean], -1)))


class InputNet(nn.Module):
    """The inputs of a recurrent network `[T, B, 27]`, and the outputs e `[T, B, A, 2]` of the blocks over the actions.

    Attributes:
        embedding: hidden width of the embeddings of y and z.
    """

    embedding: int

    def setup(self) -> None:
        """The submodules."""
        self.embed_y, self.embed_z = Embedding(self.embedding), Embedding(self.embedding)
        self.blocks = [EquivariantBlock(channels) for channels in CHANNELS]

    def __call__(self, f: Features) -> tuple[Array, Array]:
        """`(inputs, e)`."""
        z, z_next, target_z, target_z_next = self.embed_z(f.z)
        predictions = [*self.embed_y(f.y)]
        for now, following in ((z, z_next), (target_z, target_z_next)):
            predictions += [
                (now * f.action).sum(-1),
                (f.pi * now).sum(-1),
                (f.pi_next * following).sum(-1),
                now.max(-1),
                following.max(-1),
            ]
        e = f.actions.at[..., 3].set(z).at[..., 4].set(target_z)
        for block in self.blocks:
            e = block(e)
        of_action = (e * f.action[..., None]).sum(-2)
        return jnp.concatenate([f.steps, jnp.stack(predictions, -1), e.mean(-2), of_action], -1), e


class LifetimeNet(nn.Module):
    """The recurrent state of the lifetime: one LSTM step per update, from the mean over all steps of the batch.

    Attributes:
        hidden: G, the width of the state.
        embedding: hidden width of its own embeddings.
    """

    hidden: int
    embedding: int

    @nn.compact
    def __call__(
        self, f: Features, u: Float[Array, "T B"], y_hat: Float[Array, "T B M"], state: tuple[Array, Array]
    ) -> tuple[Array, Array]:
        """The state after an update.

        Args:
            f: features of the batch.
            u: the trajectory network's own input of this network.
            y_hat: logits of the target of y.
            state: `(h, c)` before the update.
        """
        net = InputNet(self.embedding, name="inputs")
        inputs, _ = net(f)
        more = jnp.stack([u, net.embed_y(jax.nn.softmax(y_hat))], -1)
        compressed = _dense(COMPRESSED, name="compression")(jnp.concatenate([inputs, more], -1))
        return LSTM(self.hidden, truncated_lecun, 1.0, name="lstm")(compressed.mean((0, 1)), state)


class DiscoNet(nn.Module):
    """The network of `DiscoRule`.

    Attributes:
        prediction_size: M, the width of y and z.
        hidden: H, width of the LSTM that runs over a trajectory from its end.
        lifetime_hidden: G, width of the LSTM that makes one step per update.
        embedding: hidden width of the embeddings of y and z.
    """

    prediction_size: int
    hidden: int
    lifetime_hidden: int
    embedding: int

    @nn.compact
    def __call__(
        self, f: Features, last: Bool[Array, "T B"], state: tuple[Float[Array, " G"], Float[Array, " G"]]
    ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array]]:
        """The logits `(pi_hat, y_hat, z_hat)`, and the state of the lifetime LSTM after the update.

        Args:
            f: features of the batch.
            last: where an episode ended, and the trajectory's LSTM is reset.
            state: `(h, c)` of the lifetime LSTM before the update.
        """
        inputs, e = InputNet(self.embedding, name="inputs")(f)
        x = ReverseLSTM(self.hidden, truncated_lecun, 1.0, name="trajectory")(inputs, last)
        gate = _dense(self.hidden, 1.0, name="gate")(state[0])
        x = x * gate[None, None]
        u = _dense(1, 0.3, name="summary")(x)[..., 0]
        y_hat = _dense(self.prediction_size, 0.3, name="y_hat")(x)
        z_hat = _dense(self.prediction_size, 0.3, name="z_hat")(x)
        per_action = jnp.broadcast_to(x[..., None, :], (*e.shape[:-1], x.shape[-1]))
        block = EquivariantBlock(CHANNELS[0], name="policy_block")(jnp.concatenate([per_action, e], -1))
        pi_hat = _dense(1, 0.3, name="pi_hat")(block)[..., 0]
        return (pi_hat, y_hat, z_hat), LifetimeNet(self.lifetime_hidden, self.embedding, name="lifetime")(
            f, u, y_hat, state
        )
