"""A single-file PPO: the baseline for the speed of lopt's PPO.

One jitted loop in the style of luchris429/purejaxrl: gymnax resets its environments itself, values are stored in the
rollout, each epoch shuffles the whole batch, and policy and value networks share one optimizer. It does not bootstrap
at time limits, records the mean return only, and has no options.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import gymnax
import jax
import jax.numpy as jnp
import optax

from experiments.agents.settings import Settings


class ActorCritic(nn.Module):
    """Separate policy and value networks with the hidden widths `hidden`."""

    actions: int
    hidden: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, x):
        """Logits `[B, actions]` and values `[B]`."""
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)
        outputs = []
        for size, scale in ((self.actions, 0.01), (1, 1.0)):
            h = x
            for width in self.hidden:
                h = self.activation(nn.Dense(width, kernel_init=nn.initializers.orthogonal(2**0.5))(h))
            outputs.append(nn.Dense(size, kernel_init=nn.initializers.orthogonal(scale))(h))
        return outputs[0], outputs[1][:, 0]


def make(name: str, settings: Settings) -> tuple[Callable[[jax.Array], Any], Callable[[Any], tuple[Any, jax.Array]]]:
    """The functions `init(key) -> state` and `update(state) -> (state, mean return of the finished episodes)`."""
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

    def env_step(carry, _):
        params, env_state, obs, episode_return, key = carry
        key, key_act, key_env = jax.random.split(key, 3)
        logits, value = net.apply(params, obs)
        action = jax.random.categorical(key_act, logits)
        log_prob = jax.nn.log_softmax(logits)[jnp.arange(s.num_envs), action]
        next_obs, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
            jax.random.split(key_env, s.num_envs), env_state, action, env_params
        )
        done = terminated | truncated
        episode_return = episode_return + reward
        transition = (obs, action, log_prob, value, reward, done, episode_return)
        return (params, env_state, next_obs, jnp.where(done, 0.0, episode_return), key), transition

    def minibatch(carry, batch):
        params, opt_state = carry
        updates, opt_state = tx.update(jax.grad(_loss)(params, net, s, batch), opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), None

    def update(state):
        params, opt_state, env_state, obs, episode_return, key = state
        (_, env_state, obs, episode_return, key), transitions = jax.lax.scan(
            env_step, (params, env_state, obs, episode_return, key), None, s.rollout_length
        )
        old_obs, action, log_prob, value, reward, done, returns = transitions
        last_value = net.apply(params, obs)[1]

        gae = _gae(s, reward, done, value, last_value)
        batch = (old_obs, action, log_prob, value, gae, gae + value)
        batch = jax.tree.map(lambda x: x.reshape(size, *x.shape[2:]), batch)

        def epoch(carry, key):
            order = jax.random.permutation(key, size)
            shuffled = jax.tree.map(
                lambda x: x[order].reshape(s.num_minibatches, size // s.num_minibatches, *x.shape[1:]), batch
            )
            return jax.lax.scan(minibatch, carry, shuffled)

        key, key_epochs = jax.random.split(key)
        (params, opt_state), _ = jax.lax.scan(epoch, (params, opt_state), jax.random.split(key_epochs, s.epochs))
        mean = jnp.where(done, returns, 0.0).sum() / jnp.maximum(done.sum(), 1)
        return (params, opt_state, env_state, obs, episode_return, key), mean

    return init, update


def _loss(params, net, s, batch):
    obs, action, old_log_prob, old_value, gae, target = batch
    logits, value = net.apply(params, obs)
    log_probs = jax.nn.log_softmax(logits)
    ratio = jnp.exp(log_probs[jnp.arange(action.shape[0]), action] - old_log_prob)
    gae = (gae - gae.mean()) / (gae.std() + 1e-8)
    policy_loss = -jnp.minimum(ratio * gae, jnp.clip(ratio, 0.8, 1.2) * gae).mean()
    clipped_value = old_value + jnp.clip(value - old_value, -0.2, 0.2)
    value_loss = 0.5 * jnp.maximum((value - target) ** 2, (clipped_value - target) ** 2).mean()
    entropy = -(jnp.exp(log_probs) * log_probs).sum(-1).mean()
    return policy_loss + 0.5 * value_loss - s.entropy_weight * entropy


def _gae(s, reward, done, value, last_value):
    def backward_step(carry, step):
        gae, next_value = carry
        reward, done, value = step
        delta = reward + s.gamma * jnp.where(done, 0.0, next_value) - value
        gae = delta + s.gamma * s.lam * jnp.where(done, 0.0, gae)
        return (gae, value), gae

    initial = (jnp.zeros_like(last_value), last_value)
    return jax.lax.scan(backward_step, initial, (reward, done, value), reverse=True)[1]
