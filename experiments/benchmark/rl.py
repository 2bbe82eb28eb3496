"""Times of reinforcement learning: full lifetimes under evolution strategies, and environment steps per second of PPO;
prints one line of JSON."""

import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from experiments.benchmark.timing import in_turn, medians, peak_gib


def evolution(pairs: int, repeats: int) -> dict[str, Any]:
    """Seconds per meta-step of TA-LPG by ES at the official code's defaults (arXiv 2402.05828): GRU of width 256, 64
    environments, T = 20, log-uniform lifetimes of 10 to 250 updates, 64 evaluation episodes per candidate."""
    from experiments.cli.evolution import ESConfig
    from experiments.grid.build import build
    from experiments.grid.config import LevelsConfig, MetaConfig, RuleConfig, StudyConfig
    from lopt.training.compiling import jit_once, jit_repeated

    config = StudyConfig(
        score="uniform",
        levels=LevelsConfig(num_updates=250, shortest=10),
        rule=RuleConfig(time="normalised"),
        meta=MetaConfig(estimator="es", num_lifetimes=pairs, chunk_size=None, learning_rate=1e-2),
        es=ESConfig(pack=1 if pairs <= 4 else 4),
    )
    study, key = build(config), jax.random.key(0)
    state = jit_once(study.init)(key)
    step = jit_repeated(study.learner.step, donate_argnums=1).lower(key, state).compile()
    state, _ = jax.block_until_ready(step(key, state))
    times, skipped, updates = [], [], 0
    for i in range(1, repeats + 1):
        updates += 2 * int(state.assignment.levels.num_updates.sum())
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(step(jax.random.fold_in(key, i), state))
        times.append(time.perf_counter() - start)
        skipped.append(float(metrics["frac_updates_skipped"]))
    steps = updates * config.agent.num_envs * config.agent.rollout_length
    return {
        "pairs": pairs,
        "seconds": statistics.mean(times),
        "all_seconds": times,
        "lifetimes_per_second": 2 * pairs * repeats / sum(times),
        "training_steps_per_second": steps / sum(times),
        "frac_updates_skipped": statistics.mean(skipped),
        "peak_gib": peak_gib(),
    }


def ppo(name: str, updates: int, repeats: int) -> dict[str, Any]:
    """Median environment steps per second of training by lopt's PPO and by the single-file baseline, in turns."""
    import jax.numpy as jnp

    from experiments.agents.env_setup import env_setup
    from experiments.agents.settings import InnerConfig
    from experiments.benchmark import baseline_ppo
    from lopt.objectives import Clip
    from lopt.training.compiling import jit_repeated

    settings = InnerConfig().settings(name)
    setup = env_setup(name, settings)
    lifetime, level = setup.lifetime(Clip(), 1), setup.levels(jax.random.key(0))

    def train_lopt(state):
        def body(state, i):
            return lifetime.step(jax.random.fold_in(jax.random.key(1), i), (), level, state)

        return jax.lax.scan(body, state, jnp.arange(updates))[0]

    init, update = baseline_ppo.make(name, settings)

    def train_baseline(state):
        return jax.lax.scan(lambda state, _: update(state), state, None, updates)[0]

    key = jax.random.key(2)
    runs: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "lopt": (jit_repeated(train_lopt), jax.jit(lambda key: lifetime.init(key, (), level))(key)),
        "baseline": (jax.jit(train_baseline), jax.jit(init)(key)),
    }
    times = in_turn({method: partial(train, state) for method, (train, state) in runs.items()}, repeats, warm_up=1)
    steps = updates * settings.num_envs * settings.rollout_length
    figures = {method: steps / seconds for method, seconds in medians(times).items()}
    return {"env": name, **figures, "ratio": figures["lopt"] / figures["baseline"], "peak_gib": peak_gib()}


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    jobs: dict[str, Callable[..., Any]] = {"evolution": evolution, "ppo": ppo}
    print(json.dumps(jobs[job.pop("kind")](**job)))
