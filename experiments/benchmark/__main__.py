"""python -m experiments.benchmark [lpg] [groove] [rl] [optimizers] [learned] [search] [incontext] [start]."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.common.cli import choose, report_errors
from experiments.common.config import write_json
from experiments.common.memory import low_fault_memory
from experiments.common.report import table
from experiments.learned_optimizer.names import ESTIMATORS

BENCHMARKS = {
    "lpg": "uniform",
    "groove": "alg_regret",
    "rl": "",
    "start": "",
    "optimizers": "",
    "learned": "",
    "search": "",
    "incontext": "",
}


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measures what is named: `lpg`, `groove` (meta-steps at the official code's defaults), `rl` (whole lives under
    evolution strategies, and PPO beside a plain PPO), `start` (start-up), `optimizers` (lopt.lion beside optax.lion),
    `learned` (learned optimizers' steps beside Adam's, and their meta-training), `search` (programs tried a second,
    beside compiling each) and `incontext` (a meta-training step of a Transformer on GPICL's tasks beside its products,
    and beside PyTorch where that is installed)."""

    what: tyro.conf.Positional[tuple[str, ...]] = ("lpg", "groove", "start", "optimizers", "learned")
    """Which benchmarks."""
    lifetimes: int = 64
    """Lifetimes side by side."""
    envs: int = 64
    """Environments per lifetime."""
    hidden: int = 256
    """Width of the rule's GRU."""
    chunk: int = 16
    """Lifetimes differentiated at once."""
    repeats: int = 5
    """Timed meta-steps (the median is reported)."""
    pairs: tuple[int, ...] = (2, 16)
    """rl: pairs of rules per meta-step of evolution strategies."""
    sizes: tuple[int, ...] = (100_000, 10_000_000)
    """Numbers of parameters for `optimizers`; 100000000 takes some 3 GiB."""
    rounds: int = 21
    """Rounds of `optimizers`, two at least, in which each takes its turn (medians are reported)."""
    programs: int = 512
    """search: programs that are tried."""
    steps: int = 200
    """search: updates of a learner's life."""
    out: str = ""
    """If given, the figures are also written to this JSON file."""


def worker(config: BenchmarkConfig, score: str) -> dict:
    """One measurement in a fresh process without a compilation cache."""
    job = {
        "score": score,
        "lifetimes": config.lifetimes,
        "envs": config.envs,
        "hidden": config.hidden,
        "chunk": config.chunk,
        "repeats": config.repeats,
        "buffer": max(4000, 2 * config.lifetimes),
    }
    return fresh("worker", job)


def reinforcement(config: BenchmarkConfig) -> dict[str, list[dict]]:
    """Evolution strategies at several sizes, and PPO in two environments, each in a process of its own."""
    evolved = [{"what": "evolution", "pairs": pairs, "repeats": config.repeats} for pairs in config.pairs]
    played = [
        {"what": "ppo", "name": name, "updates": updates, "repeats": config.repeats}
        for name, updates in (("CartPole-v1", 100), ("Breakout-MinAtar", 6))
    ]
    return {
        "evolution": [fresh("rl", job) for job in evolved],
        "ppo": [
            {"threads": threads or "all", **fresh("rl", job, **({"NPROC": threads} if threads else {}))}
            for job in played
            for threads in ("1", "")
        ],
    }


def fresh(module: str, job: dict, **env: str) -> dict:
    """What a module of this package reports of a job, in a process of its own; NPROC bounds the compiler's threads."""
    command = [sys.executable, "-m", f"experiments.benchmark.{module}", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=low_fault_memory(os.environ | env))
    return json.loads(done.stdout.splitlines()[-1])


def optimizers(config: BenchmarkConfig) -> dict[str, dict]:
    """Times and peak memory of Lion, ours and optax's, for every number of parameters."""
    if config.rounds < 2:
        raise ValueError(f"--rounds must be at least 2 (got {config.rounds})")
    if min(config.sizes, default=0) < 10:
        raise ValueError(f"--sizes must be numbers from 10 up (got {config.sizes})")
    figures = {}
    for size in config.sizes:
        figures[str(size)] = fresh("optimizers", {"size": size, "repeats": config.rounds})
        figures[str(size)]["peak_gib"] = {
            name: fresh("optimizers", {"size": size, "name": name})["peak_gib"] for name in ("lopt.lion", "optax.lion")
        }
    return figures


def learned(config: BenchmarkConfig) -> dict[str, Any]:
    """Steps of learned optimizers, and meta-training by every estimator, each in a process of its own."""
    return {
        "steps": fresh("learned", {"size": 100_000, "repeats": config.rounds}),
        "training": [fresh("learned", {"estimator": name, "repeats": config.repeats}) for name in ESTIMATORS],
    }


def learned_tables(figures: dict[str, Any]) -> str:
    """Both tables of `learned`."""
    found = figures["steps"]
    rows = [(name, 1e3 * seconds, found["ratio"][name]) for name, seconds in found["seconds"].items()]
    text = table(("a step on 1e5 parameters", "milliseconds", "x Adam"), rows)
    columns = ("estimator", "updates", "inner_steps_per_second", "adam_steps_per_second", "ratio", "peak_gib")
    header = ("meta-training by", "updates at once", "inner steps/s", "as many learners by Adam", "ratio", "peak GiB")
    return text + "\n\n" + table(header, [[row[c] for c in columns] for row in figures["training"]])


def programs(config: BenchmarkConfig) -> dict:
    """Programs tried a second by the population interpreter and by others, on the proxy of lion_search."""
    for name in ("programs", "steps", "repeats"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name} must be at least 1 (got {getattr(config, name)})")
    job = {"task": "digits", "steps": config.steps, "number": config.programs, "rounds": config.repeats}
    return fresh("search", job)


def search_text(data: dict) -> str:
    """The table of `search`, and what else it measured."""
    rows = [(name, rate, data["per_second"]["interpreter"] / rate) for name, rate in data["per_second"].items()]
    return (
        f"{table(('way to try programs', 'programs/s', 'the interpreter is x'), rows)}\n\n{data['task']}: "
        f"{data['parameters']} parameters, {data['steps']} updates, {data['statements']:.1f} statements on average; "
        f"the interpreter's first program came after {data['first_seconds']:.1f} s. One core mutates "
        f"{data['mutated']:.0f} programs a second, and {data['mutated_and_named']:.0f} with the names that they are "
        "remembered by."
    )


def optimizer_table(figures: dict[str, dict]) -> str:
    """The table of `optimizers`."""
    header = ("parameters", "step of", "milliseconds", "x optax (quartiles)", "x read and write", "peak GiB")
    return table(header, optimizer_rows(figures))


def optimizer_rows(figures: dict[str, dict]) -> list[tuple]:
    """One row per number of parameters and contender."""
    rows = []
    for size, data in figures.items():
        floor = data["seconds"]["read and write"]
        for name, seconds in data["seconds"].items():
            low, high = data["ratio_quartiles"]
            ratio = f"{data['ratio']:.3f} ({low:.3f} to {high:.3f})" if name == "lopt.lion" else ""
            peak = data["peak_gib"].get(name, "")
            rows.append((f"{int(size):.0e}", name, seconds * 1e3, ratio, seconds / floor, peak))
    return rows


IN_CONTEXT = (
    {"length": 32, "features": 32, "width": 64, "layers": 2, "heads": 4, "batch": 64},
    {"length": 100, "features": 64, "width": 256, "layers": 4, "heads": 8, "batch": 16},
)
"""Sizes of `incontext`: the default preset's, and GPICL's model on digits."""


def in_context(config: BenchmarkConfig) -> list[dict]:
    """A step at several sizes, on one thread and on all."""
    jobs = [{**sizes, "repeats": 3 * config.repeats} for sizes in IN_CONTEXT]
    one = {"OMP_NUM_THREADS": "1", "NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    threads: dict[str, dict[str, str]] = {"1": one, "all": {}}
    return [{"threads": name, **fresh("in_context", job, **env)} for job in jobs for name, env in threads.items()]


def in_context_table(figures: list[dict]) -> str:
    """The table of `incontext`."""
    header = ("width", "layers", "T", "batch", "threads", "sequences/s", "x products", "part of tasks", "x PyTorch")
    columns = ("width", "layers", "length", "batch", "threads", "sequences_per_second", "over_floor", "task_part")
    return table(header, [[*(row[c] for c in columns), row.get("times_as_fast_as_torch", "")] for row in figures])


def start_up() -> dict[str, float]:
    """Seconds to import, and until the first meta-steps of the quick preset, without and with a compilation cache."""

    def timed(code: str, **env: str) -> float:
        measured = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
        command = [sys.executable, "-c", measured]
        times = []
        for _ in range(3):
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | env)
            times.append(float(done.stdout.splitlines()[-1]))
        return min(times)

    figures = {"import optax": timed("import optax"), "import lopt": timed("import lopt")}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("cold", "warm"):
            run = [sys.executable, "-m", "experiments.groove", "--out", f"{folder}/{name}", "--no-progress"]
            run += ["--meta.steps-per-chunk", "1", "--meta.num-steps", "1", "--eval.every", "1"]
            figures[f"first meta-step, {name}"] = _first_step(run, folder)
    return figures


def _first_step(command: list[str], folder: str) -> float:
    """Seconds from starting the command to its first logged meta-step."""
    import time

    start = time.perf_counter()
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
    log = Path(command[command.index("--out") + 1]) / "metrics.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        while process.poll() is None:
            if log.exists() and log.stat().st_size:
                return time.perf_counter() - start
            time.sleep(0.02)
        raise ValueError(f"{' '.join(command)} ended with {process.returncode} before its first meta-step")
    finally:
        process.terminate()
        process.wait()


def reinforcement_tables(figures: dict[str, list[dict]]) -> str:
    """Both tables of `rl`."""
    columns = ("pairs", "seconds", "lives_per_second", "training_steps_per_second", "saved", "peak_gib")
    header = (
        "TA-LPG by ES: pairs",
        "seconds per meta-step",
        "lives/s",
        "training steps/s",
        "saved by packing",
        "peak GiB",
    )
    text = table(header, [[row[c] for c in columns] for row in figures["evolution"]])
    columns = ("env", "threads", "ours", "plain", "ratio", "peak_gib")
    header = ("PPO", "threads", "steps/s", "a plain PPO's", "ratio", "peak GiB")
    return text + "\n\n" + table(header, [[row[c] for c in columns] for row in figures["ppo"]])


def main() -> None:
    """Measure, print a table, and perhaps write it."""
    config = tyro.cli(BenchmarkConfig, prog="python -m experiments.benchmark")
    for name in config.what:
        choose("benchmark", name, BENCHMARKS)
    figures: dict = {}
    for name in config.what:
        special = {
            "start": start_up,
            "rl": lambda: reinforcement(config),
            "optimizers": lambda: optimizers(config),
            "learned": lambda: learned(config),
            "search": lambda: programs(config),
            "incontext": lambda: in_context(config),
        }
        figures[name] = special[name]() if name in special else worker(config, BENCHMARKS[name])
    show(figures)
    if config.out:
        write_json(Path(config.out), figures)


def show(figures: dict) -> None:
    """The tables."""
    rows = []
    for name in ("lpg", "groove"):
        if name in figures:
            data = figures[name]
            floor = data["floor_products"] + data["floor_gates"]
            rows.append((name, data["seconds"], data["seconds"] / data["floor_products"], data["seconds"] / floor))
            rows[-1] += (data["peak_gib"], data["first_step_after"], data["matmul_gflops"])
    if rows:
        header = ("meta-step", "seconds", "x products", "x products and gates", "peak GiB", "first after s", "GFLOP/s")
        print(table(header, rows))
    if "lpg" in figures and "groove" in figures:
        print(f"\nGROOVE costs {figures['groove']['seconds'] / figures['lpg']['seconds']:.2f} LPG meta-steps")
    tables: dict[str, Callable[[Any], str]] = {
        "rl": reinforcement_tables,
        "start": lambda data: table(("start-up", "seconds"), list(data.items())),
        "optimizers": optimizer_table,
        "learned": learned_tables,
        "search": search_text,
        "incontext": in_context_table,
    }
    for name, text in tables.items():
        if name in figures:
            print("\n" + text(figures[name]))


if __name__ == "__main__":
    report_errors(main)
