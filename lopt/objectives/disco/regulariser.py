"""Regularisers of DiscoRL's meta-objective."""

import math
from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from lopt import policies
from lopt.objectives.disco.records import DiscoInputs, DiscoOutput, DiscoTargets, take_action


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
