"""The picture of the front page: a level, an agent trained on it by a shipped rule, and learning curves.

python docs/pictures/front.py            # about a minute on two cores; writes front.png beside this file

The level is the one with the highest optimal return of 16 held-out ones. It is chosen before any agent is trained.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import lopt
from envs import Fixed, LogUniform
from envs.gridworld import All, draw_path, draw_policy, draw_visits, optimal_return, pack, render
from lopt.agents import MeanReturn, default_lifetime, reset, rollout
from lopt.evaluation.plots import figure
from lopt.unroll import unroll

RULE = "lpg-grid-a2c"
UPDATES, AGENTS, MAX_STEPS = 50, 32, 100
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#606060"


def train(lifetime, theta, levels, keys):
    """States of agents trained from scratch on one level each, and their returns after each update `[agents, N]`."""
    evaluate = MeanReturn(env=lifetime.env, policy=lifetime.agent.act, num_episodes=16, max_steps=MAX_STEPS)

    def agent(key, level):
        key_init, key_train = jax.random.split(key)

        def update(key, state):
            key_step, key_evaluate = jax.random.split(key)
            state, _ = lifetime.step(key_step, theta, level, state)
            return state, evaluate(key_evaluate, level, state)

        initial = lifetime.init(key_init, theta, level)
        first = evaluate(jax.random.clone(key_train), level, initial)
        state, returns = unroll(update, key_train, initial, UPDATES)
        return state, jnp.concatenate([first[None], returns])

    return jax.jit(jax.vmap(agent))(keys, levels)


def draw_agent(ax, env, level, lifetime, state):
    """The level with the agent's visits, its likeliest actions, and the way they lead."""

    @jax.jit
    def play(inverse_temperature):
        key_reset, key_play = jax.random.split(jax.random.key(3))

        def logits(obs):
            return inverse_temperature * lifetime.agent.act(state.agent, obs)

        return rollout(key_play, env, level.params, logits, reset(key_reset, env, level.params, 16), MAX_STEPS)[1]

    visits = np.bincount(np.asarray(play(1.0).obs.index).ravel() % env.num_cells, minlength=env.num_cells)
    table = np.asarray(jax.nn.softmax(state.agent.policy.params["rows"])).reshape(-1, env.num_cells, env.num_actions)
    greedy = play(100.0)
    end = int(np.argmax(greedy.last[:, 0]))
    path = np.append(greedy.obs.index[: end + 1, 0], greedy.next_obs.index[end, 0]) % env.num_cells
    render(level.params, env, ax, f"an agent after {UPDATES} updates by a learned rule")
    draw_visits(ax, visits, env)
    draw_policy(ax, table[pack(level.params.present)] * (visits > 0)[:, None], env)
    draw_path(ax, path, env)


def main():
    """Train agents under the rule and under A2C, and draw the picture."""
    levels = All(max_steps=LogUniform(20, MAX_STEPS), num_updates=Fixed(UPDATES))
    env = levels.environment
    drawn = jax.jit(jax.vmap(levels))(jax.random.split(jax.random.key(1), 16))
    optima = np.asarray(jax.jit(partial(jax.lax.map, partial(optimal_return, env)))(drawn.params))
    level = jax.tree.map(lambda x: x[optima.argmax()], drawn)
    same = jax.tree.map(lambda x: jnp.broadcast_to(x, (AGENTS, *x.shape)), level)
    keys = jax.random.split(jax.random.key(2), AGENTS)

    rule = lopt.load(RULE)
    under_rule, under_a2c = rule.lifetime(levels), default_lifetime(levels, lopt.A2C())
    states, returns = train(under_rule, rule.theta, same, keys)
    curves = {"learned rule": (returns, ORANGE, "-"), "A2C": (train(under_a2c, (), same, keys)[1], BLUE, "--")}
    final = np.asarray(returns)[:, -10:].mean(1)
    median = jax.tree.map(lambda x: x[np.argsort(final)[AGENTS // 2]], states)

    with figure(Path(__file__).with_suffix(".png"), 1, 3, size=(3.3, 3.1)) as (_, axes):
        left, middle, right = axes.flat
        render(level.params, env, left, "a level: S start, discs rewards")
        draw_agent(middle, env, level, under_rule, median)
        for name, (values, color, style) in curves.items():
            low, high = np.quantile(values, [0.1, 0.9], axis=0)
            right.fill_between(range(UPDATES + 1), low, high, color=color, alpha=0.15, lw=0)
            right.plot(values.mean(0), color=color, ls=style, lw=2, label=name)
            print(f"{name}: mean return over the last ten updates {np.asarray(values)[:, -10:].mean():.2f}")
        right.axhline(optima.max(), color=GREY, ls=":", label="optimum")
        right.set(xlabel="update of the agent", ylabel="return", title=f"{AGENTS} agents: mean and middle 80 %")
        right.legend(loc="lower right")
    print(f"optimum: {optima.max():.2f}")


if __name__ == "__main__":
    main()
