"""Time and peak memory of a meta-step in its own process; prints one line of JSON."""

import json
import sys
import time

STARTED = time.perf_counter()


def meta_step(score: str, lifetimes: int, envs: int, hidden: int, chunk: int, repeats: int, buffer: int) -> dict:
    """Seconds per meta-step at the official code's defaults (T = 20, K = 5), start-up time, peak memory and floors.

    Args:
        score: score of the level curriculum.
        lifetimes: number of lifetimes side by side.
        envs: number of parallel environments per lifetime.
        hidden: width of the rule's GRU.
        chunk: number of lifetimes differentiated at once.
        repeats: number of timed meta-steps.
        buffer: capacity of the level buffer.
    """
    import jax

    from experiments.benchmark.timing import gru_floor_seconds, matmul_gflops, peak_gib, seconds, tanh_nanoseconds
    from experiments.grid.build import build
    from experiments.grid.config import AgentConfig, CurriculumConfig, MetaConfig, RuleConfig, StudyConfig
    from lopt.training.compiling import jit_once, jit_repeated

    config = StudyConfig(
        score=score,
        rule=RuleConfig(hidden=hidden),
        agent=AgentConfig(num_envs=envs),
        meta=MetaConfig(num_lifetimes=lifetimes, chunk_size=min(chunk, lifetimes)),
        curriculum=CurriculumConfig(buffer=buffer),
    )
    study, key = build(config), jax.random.key(0)
    state = jit_once(study.init)(key)
    step = jit_repeated(study.learner.step, donate_argnums=1).lower(key, state).compile()
    state, metrics = step(jax.random.fold_in(key, 0), state)
    jax.block_until_ready(metrics)
    first = time.perf_counter() - STARTED
    carry = [state]

    def advance(i: int):
        carry[0], metrics = step(jax.random.fold_in(key, i), carry[0])
        return carry[0].theta, metrics

    times = [seconds(advance, i) for i in range(1, repeats + 1)]
    peak = peak_gib()
    transitions = lifetimes * envs * config.agent.rollout_length * config.meta.num_updates
    gflops, tanh = matmul_gflops(), tanh_nanoseconds()
    products, gates = gru_floor_seconds(transitions, hidden, gflops, tanh)
    return {
        "seconds": sorted(times)[len(times) // 2],
        "all_seconds": times,
        "first_step_seconds": first,
        "peak_gib": peak,
        "matmul_gflops": gflops,
        "tanh_ns": tanh,
        "floor_products": products,
        "floor_gates": gates,
    }


if __name__ == "__main__":
    print(json.dumps(meta_step(**json.loads(sys.argv[1]))))
