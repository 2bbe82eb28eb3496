"""The reference returns that normalise scores."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.brax import BRAX_TASKS
from envs.gymnax import gymnax_env, gymnax_names
from envs.references import REFERENCES


@functools.cache
def random_returns(name, num):
    """Returns of `num` episodes of uniformly random actions."""
    env = gymnax_env(name)
    level = env.default_params

    @jax.jit
    def run(key):
        key_reset, key_steps = jax.random.split(key)

        def body(carry):
            time, state, running, total = carry
            key_act, key_step = jax.random.split(jax.random.fold_in(key_steps, time))
            actions = jax.random.randint(key_act, (num,), 0, env.num_actions)
            timestep, state = jax.vmap(env.step, (0, 0, 0, None))(
                jax.random.split(key_step, num), state, actions, level
            )
            return time + 1, state, running & ~timestep.last, total + jnp.where(running, timestep.reward, 0.0)

        _, state = jax.vmap(env.reset, (0, None))(jax.random.split(key_reset, num), level)
        start = (jnp.int32(0), state, jnp.ones(num, bool), jnp.zeros(num))
        return jax.lax.while_loop(lambda carry: carry[2].any(), body, start)[3]

    return np.asarray(run(jax.random.key(1)))


def test_names_and_scales():
    assert set(REFERENCES) <= {*gymnax_names(), *BRAX_TASKS}
    for reference in REFERENCES.values():
        assert reference.random < reference.reference and 0 < reference.random_error < 0.05 * reference.reference
        np.testing.assert_allclose(reference.score(np.array([reference.random, reference.reference])), [0, 1])


def check(name, num):
    returns, reference = random_returns(name, num), REFERENCES[name]
    error = np.hypot(returns.std() / num**0.5, reference.random_error)
    assert abs(returns.mean() - reference.random) < 4 * error


def test_random_return_of_cartpole():
    check("CartPole-v1", 4096)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in REFERENCES if name.endswith("MinAtar")])
def test_random_return_of_a_game(name):
    check(name, 256)
