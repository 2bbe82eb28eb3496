"""The response of a learned policy gradient to a reward."""

import jax
import numpy as np

from lopt.evaluation import lpg_response
from lopt.objectives import LPG, RemainingFraction


def test_response_depends_on_the_reward_up_to_the_rewarded_step_and_on_time():
    rule = LPG(prediction_size=3, hidden=4, embedding=2, conditioning=RemainingFraction())
    theta = rule.init(jax.random.key(0))
    pi_hat = lpg_response.response(rule, theta, np.array([-1.0, 0.0, 1.0]), lifetime=8)
    assert pi_hat.shape == (len(lpg_response.FRACTIONS), 3, lpg_response.STEPS)
    # the rule reads the rollout backwards: pi_hat depends on the reward at all steps up to it, and at none after it
    differs = (pi_hat[:, 1] != pi_hat[:, 2]).all(0)
    np.testing.assert_array_equal(differs, np.arange(lpg_response.STEPS) <= lpg_response.REWARDED)
    assert len(np.unique(pi_hat[:, 1, 0])) == len(lpg_response.FRACTIONS)
