"""Measurements of reinforcement learning: whole lives under evolution strategies, and PPO's steps per second."""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax


def evolution(pairs: int, repeats: int) -> dict[str, Any]:
    """Seconds per meta-step of TA-LPG by ES at the official code's defaults (arXiv 2402.05828): GRU 256, 64 workers,
    T = 20, lives log-uniform in [10, 250], 64 episodes of evaluation for every candidate."""
    from experiments.common.compiling import often, once
    from experiments.common.evolution import ESConfig
    from experiments.gridworld.build import build
    from experiments.gridworld.config import LevelsConfig, MetaConfig, RuleConfig, StudyConfig

    config = StudyConfig(
        score="uniform",
        levels=LevelsConfig(lifetime=250, shortest=10),
        rule=RuleConfig(time="normalised"),
        meta=MetaConfig(estimator="es", num_lifetimes=pairs, chunk_size=None, learning_rate=1e-2),
        es=ESConfig(pack=1 if pairs <= 4 else 4),
    )
    study, key = build(config), jax.random.key(0)
    state = once(study.init)(key)
    step = often(study.learner.step, donate_argnums=1).lower(key, state).compile()
    state, _ = jax.block_until_ready(step(key, state))
    times, saved, lived = [], [], 0
    for i in range(1, repeats + 1):
        lived += 2 * int(state.assignment.levels.lifetime.sum())
        start = time.perf_counter()
        state, metrics = jax.block_until_ready(step(jax.random.fold_in(key, i), state))
        times.append(time.perf_counter() - start)
        saved.append(float(metrics["saved"]))
    steps = lived * config.agent.num_envs * config.agent.rollout_length
    return {
        "pairs": pairs,
        "seconds": statistics.mean(times),
        "all_seconds": times,
        "lives_per_second": 2 * pairs * repeats / sum(times),
        "training_steps_per_second": steps / sum(times),
        "saved": statistics.mean(saved),
        "peak_gib": peak_gib(),
    }


def ppo(name: str, updates: int, repeats: int) -> dict[str, Any]:
    """Environment steps per second of training, ours and that of a plain file, in turns; the medians."""
    import jax.numpy as jnp

    from experiments.benchmark import plain_ppo
    from experiments.common.compiling import often
    from experiments.mirror.build import world
    from experiments.mirror.settings import InnerConfig
    from lopt.objectives import Clip

    settings = InnerConfig().settings(name)
    here = world(name, settings)
    lifetime, level = here.lifetime(Clip(), 1), here.levels(jax.random.key(0))

    def ours(state):
        def body(state, i):
            return lifetime.step(jax.random.fold_in(jax.random.key(1), i), (), level, state)

        return jax.lax.scan(body, state, jnp.arange(updates))[0]

    init, update = plain_ppo.make(name, settings)

    def plain(state):
        return jax.lax.scan(lambda state, _: update(state), state, None, updates)[0]

    key = jax.random.key(2)
    runs = {
        "ours": (often(ours), jax.jit(lambda key: lifetime.init(key, (), level))(key)),
        "plain": (jax.jit(plain), jax.jit(init)(key)),
    }
    times: dict[str, list[float]] = {which: [] for which in runs}
    for _ in range(repeats + 1):
        for which, (go, state) in runs.items():
            times[which].append(_seconds(go, state))
    steps = updates * settings.num_envs * settings.rollout_length
    figures = {which: steps / statistics.median(all[1:]) for which, all in times.items()}
    return {"env": name, **figures, "ratio": figures["ours"] / figures["plain"], "peak_gib": peak_gib()}


def peak_gib() -> float:
    """The process's peak resident memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _seconds(go: Callable[[Any], Any], state: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(go(state))
    return time.perf_counter() - start


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps({"evolution": evolution, "ppo": ppo}[job.pop("what")](**job)))
