"""The probes have the documented values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import ACTION_FROM_OBS, ACTION_MATTERS, CONSTANT_VALUE, DISCOUNTING, PROBES, VALUE_FROM_OBS, Probe
from envs.probes import END, ProbeState
from tests.envs.keys import make_keys

GAMMA = 0.9
VALUES = {  # optimal values, values of the uniform policy
    CONSTANT_VALUE: ([1], [1]),
    VALUE_FROM_OBS: ([-1, 1], [-1, 1]),
    DISCOUNTING: ([GAMMA, 1], [GAMMA, 1]),
    ACTION_MATTERS: ([1], [0]),
    ACTION_FROM_OBS: ([1, 1], [0, 0]),
}


def uniform(probe):
    return np.full((probe.num_states, probe.num_actions), 1 / probe.num_actions)


@pytest.mark.parametrize("i", range(5))
def test_documented_values(i):
    probe = PROBES[i]
    best, average = VALUES[probe]
    np.testing.assert_allclose(probe.action_values(GAMMA).max(-1), best)
    np.testing.assert_allclose(probe.action_values(GAMMA, uniform(probe)).mean(-1), average)


@pytest.mark.parametrize("i", range(5))
def test_steps_give_the_documented_values(i):
    """Discounted return of every state and action under the uniform policy, by recursion (exact)."""
    probe = PROBES[i]
    level = probe(jax.random.key(0)).params
    step = jax.jit(probe.step)

    def q(state, action):
        timestep, after = step(jax.random.key(1), state, jnp.int32(action), level)
        if timestep.discount == 0:
            assert timestep.last and timestep.obs.time == 0
            return float(timestep.reward)
        assert after.time == state.time + 1
        return float(timestep.reward) + GAMMA * np.mean([q(after, a) for a in range(probe.num_actions)])

    got = [
        [q(ProbeState(index=jnp.int32(s), time=jnp.int32(0)), a) for a in range(probe.num_actions)]
        for s in range(probe.num_states)
    ]
    np.testing.assert_allclose(got, probe.action_values(GAMMA, uniform(probe)))


def test_initial_states_and_scale():
    reset = jax.jit(jax.vmap(VALUE_FROM_OBS.reset, (0, None)))
    level = VALUE_FROM_OBS(jax.random.key(0)).params
    obs, state = reset(make_keys(0, 300), level)
    assert abs(obs.index.mean() - 0.5) < 0.15 and (state.time == 0).all()
    timestep, _ = VALUE_FROM_OBS.step(
        jax.random.key(0), jax.tree.map(lambda x: x[0], state), jnp.int32(0), level.replace(scale=jnp.float32(3))
    )
    assert abs(timestep.reward) == 3


def test_errors():
    with pytest.raises(ValueError, match="state"):
        Probe(reward=((1.0,),), successor=((END, END),))
    with pytest.raises(ValueError, match="num_starts"):
        Probe(reward=((1.0,),), successor=((END,),), num_starts=2)
    with pytest.raises(ValueError, match="successors"):
        Probe(reward=((1.0,),), successor=((5,),))
