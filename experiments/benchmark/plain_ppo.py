"""PPO as people write it in one file: the baseline that the speed of ours is measured against.

One jitted loop in the style of luchris429/purejaxrl: gymnax steps itself with its own reset, values are kept from the
rollout, epochs shuffle the whole batch, one network with two heads has one optimizer. It does not bootstrap at time
limits, keeps nothing but the mean return, and has no options.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax

from experiments.mirror.settings import Settings


class ActorCritic(nn.Module):
    """Two networks of two hidden layers each."""

    actions: int
    hidden: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x):
        """Logits and value."""
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        heads = []
        for outputs, scale in ((self.actions, 0.01), (1, 1.0)):
            h = x
            for width in self.hidden:
                h = self.activation(nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5))(h))
            heads.append(nn.Dense(outputs, kernel_init=nn.initializers.orthogonal(scale))(h))
        return heads[0], heads[1][:, 0]


def make(name: str, settings: Settings) -> tuple[Callable[[jax.Array], Any], Callable[[Any], tuple[Any, jax.Array]]]:
    """`init(key) -> state` and `update(state) -> (state, mean return of the episodes that ended)`."""
    s = settings
    env, env_params = gymnax.make(name)
    net = ActorCritic(env.num_actions, s.hidden, nn.relu if s.relu else nn.tanh)
    decay = optax.linear_schedule(s.learning_rate, 0.0, s.num_updates * s.epochs * s.num_minibatches)
    tx = optax.chain(optax.clip_by_global_norm(s.max_norm), optax.adam(decay, s.b1, s.b2, eps=1e-5))
    size = s.num_envs * s.rollout_length

    def init(key):
        key, key_net, key_env = jax.random.split(key, 3)
        obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(key_env, s.num_envs), env_params)
        params = net.init(key_net, obs)
        return params, tx.init(params), env_state, obs, jnp.zeros(s.num_envs), key

    def play(carry, _):
        params, env_state, obs, earned, key = carry
        key, key_act, key_env = jax.random.split(key, 3)
        logits, value = net.apply(params, obs)
        action = jax.random.categorical(key_act, logits)
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(s.num_envs), action]
        after, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_env, s.num_envs), env_state, action, env_params
        )
        done = terminated | truncated
        earned = earned + reward
        seen = (obs, action, log_prob, value, reward, done, earned)
        return (params, env_state, after, jnp.where(done, 0.0, earned), key), seen

    def minibatch(carry, batch):
        params, opt_state = carry
        updates, opt_state = tx.update(jax.grad(_loss)(params, net, s, batch), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def update(state):
        params, opt_state, env_state, obs, earned, key = state
        (_, env_state, obs, earned, key), seen = jax.lax.scan(
            play, (params, env_state, obs, earned, key), None, s.rollout_length
        )
        seen_obs, action, log_prob, value, reward, done, sums = seen
        last = net.apply(params, obs)[1]

        gae = _gae(s, reward, done, value, last)
        batch = (seen_obs, action, log_prob, value, gae, gae + value)
        batch = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), batch)

        def epoch(carry, key):
            order = jax.random.permutation(key, size)
            shuffled = jax.tree.map(
                lambda x: x[order].reshape(s.num_minibatches, size // s.num_minibatches, *x.shape[1:]), batch
            )
            return jax.lax.scan(minibatch, carry, shuffled)

        key, key_epochs = jax.random.split(key)
        (params, opt_state), _ = jax.lax.scan(epoch, (params, opt_state), jax.random.split(key_epochs, s.epochs))
        mean = jnp.where(done, sums, 0.0).sum() / jnp.maximum(done.sum(), 1)
        return (params, opt_state, env_state, obs, earned, key), mean

    return init, update


def _loss(params, net, s, batch):
    obs, action, old_log_prob, old_value, gae, target = batch
    logits, value = net.apply(params, obs)
    log_probs = jax.nn.log_softmax(logits)
    ratio = jnp.exp(log_probs[jnp.arange(action.shape[0]), action] - old_log_prob)
    gae = (gae - gae.mean()) / (gae.std() + 1e-8)
    policy = -jnp.minimum(ratio * gae, jnp.clip(ratio, 0.8, 1.2) * gae).mean()
    near = old_value + jnp.clip(value - old_value, -0.2, 0.2)
    error = 0.5 * jnp.maximum((value - target) ** 2, (near - target) ** 2).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy + 0.5 * error - s.entropy_weight * entropy


def _gae(s, reward, done, value, last):
    def back(carry, step):
        gae, following = carry
        reward, done, value = step
        delta = reward + s.gamma * jnp.where(done, 0.0, following) - value
        gae = delta + s.gamma * s.lam * jnp.where(done, 0.0, gae)
        return (gae, value), gae

    return jax.lax.scan(back, (jnp.zeros_like(last), last), (reward, done, value), reverse=True)[1]
