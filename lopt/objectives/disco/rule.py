"""DiscoRL's rule and the regularisers of its meta-objective: a recurrent network that gives targets for all outputs of
an agent, with a state per lifetime.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from lopt import policies
from lopt.objectives.disco.network import DiscoNet, features
from lopt.objectives.disco.records import (
    DebiasedMoments,
    DiscoInputs,
    DiscoOutput,
    DiscoState,
    DiscoTargets,
    ValueBins,
    estimate_values,
    take_action,
)
from lopt.types import Key, Metrics, Params, Theta, Trajectory


@dataclass(frozen=True, kw_only=True)
class DiscoRule:
    """DiscoRL: targets for an agent's policy and for two predictions y and z whose meaning is learned, by a network.

    The network reads, at every step of a batch of trajectories, the probabilities of the action taken under the agent,
    the behaviour policy and the target network, reward and termination, value estimates (Retrace returns of a
    categorical action value), and embeddings of the predictions y(s) and z(s, a), of the agent and of its target
    network. An LSTM runs over them from t = T to 1; its output is multiplied by a linear function of the state h of a
    second LSTM, which makes one step per update and thus carries information through the agent's lifetime. The outputs
    are logits pi_hat(. | s_t), y_hat_t and z_hat_t. The agent minimises the mean over steps of

        KL(pi_hat || pi) + KL(y_hat || y) + KL(z_hat || z(a_t))
        + auxiliary_weight d_t KL(pi(. | s'_t) || aux_policy(a_t))
        + value_weight CE(two-hot(h(G_t)) || q(a_t)),

    with constant targets; d_t is 0 where an episode terminated. Inputs that describe actions go through blocks that
    treat all actions alike: a permutation of the actions permutes pi_hat and changes nothing else, and one theta
    serves any number of actions. After every update the target parameters move by 1 - target_decay towards the
    parameters before that update.

    The state of a lifetime is a `DiscoState`: `initial_state(params)`, then `targets` returns the next one.
    Meta-gradients flow through the targets, the state and the predictions y and z; other inputs are constants.

    Attributes:
        prediction_size: M, the width of y and z.
        hidden: H, width of the LSTM over the trajectory.
        lifetime_hidden: G, width of the LSTM over the updates.
        embedding: hidden width of the embeddings of y and z.
        bins: of the categorical action values.
        gamma: discount factor of the values.
        lam: lambda of Retrace.
        auxiliary_weight: weight of the loss of the policy one step later.
        value_weight: weight of the loss of the action values.
        target_decay: decay of the target parameters, per update.
        moments_decay: decay of the moments that normalise advantages, per update.

    The default values are those of Disco103, whose theta `lopt.load` reads.

    Raises:
        ValueError: a width below one, or a number out of range.

    Paper: Oh et al., "Discovering state-of-the-art reinforcement learning algorithms", Nature 2025.
    Differs: value estimates and inputs at the next step read the observation before a reset, so that all steps are
        learned from; the published code reads the first observation of the next episode, and leaves the first step of
        an episode out of the loss. A truncation ends an episode without ending its return; the published code has
        terminations alone. It also normalises the temporal differences of Q, for its log.
    """

    prediction_size: int = 600
    hidden: int = 256
    lifetime_hidden: int = 128
    embedding: int = 16
    bins: ValueBins = ValueBins()
    gamma: float = 0.997
    lam: float = 0.95
    auxiliary_weight: float = 1.0
    value_weight: float = 0.2
    target_decay: float = 0.9
    moments_decay: float = 0.99

    def __post_init__(self) -> None:
        for name in ("prediction_size", "hidden", "lifetime_hidden", "embedding"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"DiscoRule: {name} must be at least 1 (got {getattr(self, name)})")
        for name in ("auxiliary_weight", "value_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"DiscoRule: {name} must not be negative, and must be finite (got {getattr(self, name)})"
                )
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"DiscoRule: {name} must be in [0, 1] (got {getattr(self, name)})")
        for name in ("target_decay", "moments_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"DiscoRule: {name} must be in [0, 1) (got {getattr(self, name)})")

    @property
    def _net(self) -> DiscoNet:
        return DiscoNet(self.prediction_size, self.hidden, self.lifetime_hidden, self.embedding)

    def init(self, key: Key) -> Theta:
        """Initial meta-parameters: nested dictionaries of arrays.

        Weights are truncated normal of standard deviation 1 / sqrt(fan-in); 0.3 for the outputs, and 1 for the gate.
        """
        inputs = _example(self.prediction_size, self.bins.number)
        f = features(inputs, estimate_values(inputs, self.bins, self.gamma, self.lam), DebiasedMoments.zeros())
        state = (jnp.zeros(self.lifetime_hidden), jnp.zeros(self.lifetime_hidden))
        return self._net.init(key, f, inputs.traj.last, state)["params"]

    def initial_state(self, params: Params) -> DiscoState:
        """The state before the first update of an agent with the parameters `params`."""
        zeros = jnp.zeros(self.lifetime_hidden)
        return DiscoState(hidden=zeros, cell=zeros, advantage=DebiasedMoments.zeros(), target_params=params)

    def targets(
        self, theta: Theta, state: DiscoState, params: Params, inputs: DiscoInputs
    ) -> tuple[DiscoTargets, DiscoState]:
        """Targets for one batch of trajectories, and the state after the update.

        Args:
            theta: meta-parameters.
            state: the state before the update.
            params: the agent's parameters before the update.
            inputs: trajectories, and what the agent with `params` and with `state.target_params` gives on them.

        Raises:
            ValueError: a theta that is not of these sizes, or outputs that do not fit the rule or each other.
        """
        self.check_theta(theta)
        self._check(inputs)
        values = estimate_values(inputs, self.bins, self.gamma, self.lam)
        moments = state.advantage.update(values.advantage, self.moments_decay)
        outputs: Any = self._net.apply(
            {"params": theta},
            features(inputs, values, moments),
            inputs.traj.last,
            (state.hidden, state.cell),
        )
        (pi_hat, y_hat, z_hat), (hidden, cell) = outputs
        after = DiscoState(
            hidden=hidden,
            cell=cell,
            advantage=moments,
            target_params=jax.tree.map(
                lambda slow, p: self.target_decay * slow + (1 - self.target_decay) * p, state.target_params, params
            ),
        )
        return DiscoTargets(policy=pi_hat, y=y_hat, z=z_hat, value=values.returns), after

    def losses(self, out: DiscoOutput, inputs: DiscoInputs, targets: DiscoTargets) -> dict[str, Float[Array, "T B"]]:
        """The terms of the loss at every step, weighted: "policy", "y", "z", "auxiliary" and "action_value"."""
        action, alive = inputs.traj.action, inputs.traj.discount
        next_policy = jax.lax.stop_gradient(inputs.out_next.policy)
        auxiliary = alive * policies.kl(next_policy, take_action(out.aux_policy, action))
        return {
            "policy": policies.kl(targets.policy, out.policy),
            "y": policies.kl(targets.y, out.y),
            "z": policies.kl(targets.z, take_action(out.z, action)),
            "auxiliary": self.auxiliary_weight * auxiliary,
            "action_value": self.value_weight * self.bins.cross_entropy(targets.value, take_action(out.q, action)),
        }

    def loss(self, out: DiscoOutput, inputs: DiscoInputs, targets: DiscoTargets) -> tuple[Float[Array, ""], Metrics]:
        """The agent's loss, to be differentiated in `out`, and the means of its terms as metrics "<term>_loss".

        Args:
            out: the agent's outputs on `inputs.traj.obs`.
            inputs: what `targets` was given.
            targets: what it returned.
        """
        means = {f"{name}_loss": term.mean() for name, term in self.losses(out, inputs, targets).items()}
        return jnp.stack([*means.values()]).sum(), means

    def check_theta(self, theta: Theta) -> None:
        """Raise unless theta has the names and shapes of this rule's meta-parameters.

        Raises:
            ValueError: it has not; the message names the first array that differs.
        """
        expected, got = _shapes(self), _paths(theta)
        for path in sorted({*expected, *got}):
            if expected.get(path) != got.get(path):
                raise ValueError(
                    f"DiscoRule: theta does not belong to this rule: {path} must be {expected.get(path, 'absent')} "
                    f"(got {got.get(path, 'no such array')}); the rule has prediction_size {self.prediction_size}, "
                    f"hidden {self.hidden}, lifetime_hidden {self.lifetime_hidden}, embedding {self.embedding}"
                )

    def _check(self, inputs: DiscoInputs) -> None:
        if not jnp.issubdtype(inputs.traj.action.dtype, jnp.integer):
            raise ValueError(
                f"DiscoRule: actions must be discrete, indices of an integer type (got {inputs.traj.action.dtype})"
            )
        number = inputs.behaviour.shape[-1]
        sizes = {
            "policy": (number,),
            "y": (self.prediction_size,),
            "z": (number, self.prediction_size),
            "aux_policy": (number, number),
            "q": (number, self.bins.number),
        }
        for outputs in ("out", "out_next", "target", "target_next"):
            for name, shape in sizes.items():
                got = getattr(getattr(inputs, outputs), name).shape[2:]
                if got != shape:
                    expected, found = ("".join(f", {n}" for n in axes) for axes in (shape, got))
                    raise ValueError(
                        f"DiscoRule: {outputs}.{name} must be [T, B{expected}], of {number} actions (those of the "
                        f"behaviour policy), {self.prediction_size} predictions and {self.bins.number} bins of values "
                        f"(got [T, B{found}])"
                    )


@cache
def _shapes(rule: DiscoRule) -> dict[str, tuple[int, ...]]:
    return _paths(jax.eval_shape(rule.init, jax.random.key(0)))


def _paths(theta: Any) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree.leaves_with_path(theta)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(x.shape) for path, x in leaves}


def _example(prediction_size: int, num_bins: int) -> DiscoInputs:
    """Inputs of one step and two actions, for the shapes."""
    zeros = jnp.zeros((1, 1))
    traj = Trajectory(
        obs=zeros,
        action=jnp.zeros((1, 1), jnp.int32),
        reward=zeros,
        discount=zeros,
        truncated=zeros > 0,
        next_obs=zeros,
    )
    out = DiscoOutput(
        policy=jnp.zeros((1, 1, 2)),
        y=jnp.zeros((1, 1, prediction_size)),
        z=jnp.zeros((1, 1, 2, prediction_size)),
        aux_policy=jnp.zeros((1, 1, 2, 2)),
        q=jnp.zeros((1, 1, 2, num_bins)),
    )
    return DiscoInputs(traj=traj, behaviour=out.policy, out=out, out_next=out, target=out, target_next=out)


@dataclass(frozen=True, kw_only=True)
class DiscoRegulariser:
    """Regularisers of DiscoRL's meta-objective.

    For every update, `training`:

        target_mean (mean[pi_hat]^2 + mean[y_hat]^2 + mean[z_hat]^2)  +  target_kl mean[ KL(pi^- || pi_hat) ]

    with means over all logits, and the policy pi^- of the target network, a constant; for the meta-loss, `validation`:

        - policy_entropy mean[ H(pi) ]  -  prediction_entropy (mean[ H(y) ] + mean[ H(z(a_t)) ]).

    Attributes:
        policy_entropy: weight of the bonus for the policy's entropy.
        prediction_entropy: weight of the bonus for the entropies of y and z.
        target_mean: weight of the penalties on the means of the targets' logits.
        target_kl: weight of the divergence of pi_hat from the target network's policy.

    Raises:
        ValueError: a weight that is not finite.

    Paper: DiscoRL (Nature 2025); the weights are those of its published notebook for meta-training.
    """

    policy_entropy: float = 1e-2
    prediction_entropy: float = 1e-3
    target_mean: float = 1e-3
    target_kl: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("policy_entropy", "prediction_entropy", "target_mean", "target_kl"):
            if not abs(getattr(self, name)) < math.inf:
                raise ValueError(f"DiscoRegulariser: {name} must be finite (got {getattr(self, name)})")

    def training(self, inputs: DiscoInputs, targets: DiscoTargets) -> Float[Array, ""]:
        """The part that belongs to one update."""
        means = targets.policy.mean() ** 2 + targets.y.mean() ** 2 + targets.z.mean() ** 2
        divergence = policies.kl(jax.lax.stop_gradient(inputs.target.policy), targets.policy).mean()
        return self.target_mean * means + self.target_kl * divergence

    def validation(self, out: DiscoOutput, action: jax.Array) -> Float[Array, ""]:
        """The part that belongs to the meta-loss.

        Args:
            out: outputs of the updated agent on a fresh rollout.
            action: its actions `[T, B]`.
        """
        predictions = policies.entropy(out.y).mean() + policies.entropy(take_action(out.z, action)).mean()
        return -self.policy_entropy * policies.entropy(out.policy).mean() - self.prediction_entropy * predictions
