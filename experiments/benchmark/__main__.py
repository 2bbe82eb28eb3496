"""python -m experiments.benchmark [lpg] [groove] [rl] [optimizers] [learned] [search] [incontext] [start]

Speed beside named baselines; start-up time.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from experiments.cli.command_line import choose, report_errors
from experiments.cli.memory import low_fault_memory
from experiments.optimizer.config import ESTIMATORS
from lopt.evaluation import table
from lopt.training import write_json


@dataclass(frozen=True)
class BenchmarkConfig:
    """Measures speed against named baselines: `lpg` and `groove` (meta-steps at the official code's defaults), `rl`
    (evolution strategies over full lifetimes, and PPO against a single-file PPO), `start` (start-up time), `optimizers`
    (lopt.lion against optax.lion), `learned` (steps of learned optimizers against Adam's, and their meta-training),
    `search` (programs evaluated per second, against compilation of each program) and `incontext` (a meta-training step
    of a Transformer on GPICL's tasks against its matrix products and, if it is installed, PyTorch)."""

    benchmarks: tyro.conf.Positional[tuple[str, ...]] = ("lpg", "groove", "start", "optimizers", "learned")
    """Benchmarks to run: lpg, groove, rl, start, optimizers, learned, search or incontext."""
    lifetimes: int = 64
    """Number of lifetimes side by side in `lpg` and `groove`."""
    envs: int = 64
    """Number of parallel environments per lifetime in `lpg` and `groove`."""
    hidden: int = 256
    """Width of the rule's GRU in `lpg` and `groove`."""
    chunk: int = 16
    """Number of lifetimes differentiated at once in `lpg` and `groove`."""
    repeats: int = 5
    """Number of timed repetitions in `lpg`, `groove`, `rl`, `search` and the meta-training of `learned`. In `incontext`
    it is three times as large."""
    pairs: tuple[int, ...] = (2, 16)
    """Numbers of antithetic pairs per meta-step of evolution strategies in `rl`."""
    sizes: tuple[int, ...] = (100_000, 10_000_000)
    """Numbers of parameters in `optimizers`; 100000000 takes some 3 GiB."""
    deployed: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)
    """Numbers of parameters, in four square layers, on which the cost of a step and its temporary memory are measured
    in `learned`; adafactor_mlp takes some 3 GiB at 10000000."""
    rounds: int = 21
    """Number of rounds, at least two, in which the steps of `optimizers` and `learned` are timed; medians are
    reported."""
    programs: int = 512
    """Number of programs evaluated in `search`."""
    steps: int = 200
    """Number of updates in a lifetime in `search`."""
    out: str = ""
    """JSON file to which the figures are written. By default they are only printed."""


def meta_step(score: str, config: BenchmarkConfig) -> dict:
    """Figures of a meta-step with this score of the curriculum, in a new process without a compilation cache."""
    sizes = {name: getattr(config, name) for name in ("lifetimes", "envs", "hidden", "chunk", "repeats")}
    return run_process("worker", {"score": score, **sizes, "buffer": max(4000, 2 * config.lifetimes)})


def meta_step_tables(figures: dict[str, dict]) -> str:
    """The table of `lpg` and `groove`, with the ratio of both."""
    rows = []
    for name, data in figures.items():
        floor = data["floor_products"] + data["floor_gates"]
        ratios = data["seconds"] / data["floor_products"], data["seconds"] / floor
        others = data["peak_gib"], data["first_step_seconds"], data["matmul_gflops"]
        rows.append((name, data["seconds"], *ratios, *others))
    header = (
        *("meta-step", "seconds", "relative to products", "relative to products and gates", "peak GiB"),
        *("first step done after s", "GFLOP/s"),
    )
    text = table(header, rows)
    if len(figures) == 2:
        ratio = figures["groove"]["seconds"] / figures["lpg"]["seconds"]
        text += f"\n\nA GROOVE meta-step takes {ratio:.2f} times as long as an LPG meta-step"
    return text


def reinforcement(config: BenchmarkConfig) -> dict[str, list[dict]]:
    """Figures of evolution strategies at several sizes and of PPO in two environments, each in a new process."""
    es_jobs = [{"kind": "evolution", "pairs": pairs, "repeats": config.repeats} for pairs in config.pairs]
    ppo_jobs = [
        {"kind": "ppo", "name": name, "updates": updates, "repeats": config.repeats}
        for name, updates in (("CartPole-v1", 100), ("Breakout-MinAtar", 6))
    ]
    return {
        "evolution": [run_process("rl", job) for job in es_jobs],
        "ppo": [
            {"threads": threads or "all", **run_process("rl", job, **({"NPROC": threads} if threads else {}))}
            for job in ppo_jobs
            for threads in ("1", "")
        ],
    }


def reinforcement_tables(figures: dict[str, list[dict]]) -> str:
    """Both tables of `rl`."""
    evolution = {
        "pairs": "TA-LPG by ES: pairs",
        "seconds": "seconds per meta-step",
        "lifetimes_per_second": "lifetimes/s",
        "training_steps_per_second": "training steps/s",
        "frac_updates_skipped": "fraction of updates skipped by packing",
        "peak_gib": "peak GiB",
    }
    ppo = {
        "env": "PPO",
        "threads": "threads",
        "lopt": "lopt, steps/s",
        "baseline": "single-file PPO, steps/s",
        "ratio": "ratio",
        "peak_gib": "peak GiB",
    }
    return records(evolution, figures["evolution"]) + "\n\n" + records(ppo, figures["ppo"])


def records(columns: dict[str, str], rows: list[dict]) -> str:
    """A table of records: `columns` are the headings by field; a field that a record lacks is empty."""
    return table(list(columns.values()), [[row.get(field, "") for field in columns] for row in rows])


def run_process(module: str, job: dict, **env: str) -> dict:
    """The figures that a module of this package prints for a job in a new process; NPROC bounds XLA's threads."""
    command = [sys.executable, "-m", f"experiments.benchmark.{module}", json.dumps(job)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=low_fault_memory(os.environ | env))
    return json.loads(done.stdout.splitlines()[-1])


def optimizers(config: BenchmarkConfig) -> dict[str, dict]:
    """Times and peak memory of lopt's and optax's Lion for each number of parameters."""
    if config.rounds < 2:
        raise ValueError(f"--rounds must be at least 2 (got {config.rounds})")
    if min(config.sizes, default=0) < 10:
        raise ValueError(f"--sizes must be at least 10 (got {config.sizes})")
    figures = {}
    for size in config.sizes:
        figures[str(size)] = run_process("optimizers", {"size": size, "repeats": config.rounds})
        figures[str(size)]["peak_gib"] = {
            name: run_process("optimizers", {"size": size, "name": name})["peak_gib"]
            for name in ("lopt.lion", "optax.lion")
        }
    return figures


def learned(config: BenchmarkConfig) -> dict[str, Any]:
    """Figures of learned optimizers' steps, and of meta-training by each estimator in a new process."""
    return {
        "deployed": [run_process("deployment", {"size": size, "repeats": config.rounds}) for size in config.deployed],
        "steps": run_process("learned", {"size": 100_000, "repeats": config.rounds}),
        "training": [run_process("learned", {"estimator": name, "repeats": config.repeats}) for name in ESTIMATORS],
    }


def learned_tables(figures: dict[str, Any]) -> str:
    """The tables of `learned`."""
    steps = figures["steps"]
    rows = [(name, 1e3 * seconds, steps["ratio"][name]) for name, seconds in steps["seconds"].items()]
    text = table(("step on 1e5 parameters", "milliseconds", "relative to Adam"), rows)
    columns = {
        "estimator": "estimator",
        "updates": "updates per meta-step",
        "inner_steps_per_second": "inner steps/s",
        "adam_steps_per_second": "Adam's inner steps/s",
        "ratio": "ratio",
        "peak_gib": "peak GiB",
    }
    costs = [
        (f"{data['parameters']:.1e}", name, 1e3 * data["seconds"][name], data["ratio"][name], temporaries)
        for data in figures["deployed"]
        for name, temporaries in data["temporary_bytes"].items()
    ]
    header = ("parameters, in four layers", "step by", "milliseconds", "relative to Adam", "temporary bytes/parameter")
    return "\n\n".join([text, table(header, costs), records(columns, figures["training"])])


def programs(config: BenchmarkConfig) -> dict:
    """Figures of `search`: programs evaluated per second by the interpreter and by its alternatives."""
    for name in ("programs", "steps", "repeats"):
        if getattr(config, name) < 1:
            raise ValueError(f"--{name} must be at least 1 (got {getattr(config, name)})")
    job = {"task": "digits", "steps": config.steps, "number": config.programs, "rounds": config.repeats}
    return run_process("search", job)


def search_text(data: dict) -> str:
    """The table of `search`, with the other figures."""
    rows = [(name, rate, data["per_second"]["interpreter"] / rate) for name, rate in data["per_second"].items()]
    return (
        f"{table(('evaluation by', 'programs/s', 'speedup of the interpreter'), rows)}\n\n{data['task']}: "
        f"{data['parameters']} parameters, {data['steps']} updates, {data['statements']:.1f} statements on average; "
        f"the interpreter evaluated its first program after {data['first_seconds']:.1f} s. One core mutates "
        f"{data['mutations_per_second']:.0f} programs per second, or mutates and hashes "
        f"{data['mutations_and_hashes_per_second']:.0f}."
    )


def optimizer_table(figures: dict[str, dict]) -> str:
    """The table of `optimizers`."""
    header = (
        "parameters",
        "step of",
        "milliseconds",
        "relative to optax (quartiles)",
        "relative to read and write",
        "peak GiB",
    )
    return table(header, optimizer_rows(figures))


def optimizer_rows(figures: dict[str, dict]) -> list[tuple]:
    """One row per number of parameters and timed step."""
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
"""Sizes of `incontext`: those of the default preset of experiments.gpicl, and GPICL's model on digits."""


def in_context(config: BenchmarkConfig) -> list[dict]:
    """Figures of `incontext` for each of the sizes, on one thread and on all."""
    jobs = [{**sizes, "repeats": 3 * config.repeats} for sizes in IN_CONTEXT]
    single = {"OMP_NUM_THREADS": "1", "NPROC": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    threads: dict[str, dict[str, str]] = {"1": single, "all": {}}
    return [{"threads": name, **run_process("in_context", job, **env)} for job in jobs for name, env in threads.items()]


def in_context_table(figures: list[dict]) -> str:
    """The table of `incontext`."""
    sizes = {"width": "width", "layers": "layers", "length": "T", "batch": "batch", "threads": "threads"}
    measured = {
        "sequences_per_second": "sequences/s",
        "over_floor": "relative to products",
        "task_sampling_fraction": "fraction for task sampling",
        "speedup_over_torch": "speedup over PyTorch",
    }
    return records(sizes | measured, figures)


def start_up() -> dict[str, float]:
    """Seconds to import lopt, and until the first meta-step of groove's default preset with an empty ("cold") and with
    a filled ("warm") compilation cache."""

    def timed(code: str, **env: str) -> float:
        script = f"import time; t = time.perf_counter()\n{code}\nprint(time.perf_counter() - t)"
        command = [sys.executable, "-c", script]
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
    """Seconds from the start of the command to its first logged meta-step."""
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


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its measurement, and the text that shows its figures."""

    measure: Callable[[BenchmarkConfig], Any]
    text: Callable[[Any], str]


META_STEPS = {"lpg": partial(meta_step, "uniform"), "groove": partial(meta_step, "alg_regret")}
"""Benchmarks of meta-steps, whose figures are shown in one table."""
BENCHMARKS = {
    "rl": Benchmark(reinforcement, reinforcement_tables),
    "start": Benchmark(lambda config: start_up(), lambda data: table(("start-up", "seconds"), list(data.items()))),
    "optimizers": Benchmark(optimizers, optimizer_table),
    "learned": Benchmark(learned, learned_tables),
    "search": Benchmark(programs, search_text),
    "incontext": Benchmark(in_context, in_context_table),
}
"""The other benchmarks, in the order in which they are shown."""


def main() -> None:
    """Run the benchmarks, print their tables, and write the figures if `--out` is given."""
    config = tyro.cli(BenchmarkConfig, prog="python -m experiments.benchmark")
    measures = META_STEPS | {name: benchmark.measure for name, benchmark in BENCHMARKS.items()}
    chosen = {name: choose("benchmark", name, measures) for name in config.benchmarks}
    figures = {name: measure(config) for name, measure in chosen.items()}
    texts = [benchmark.text(figures[name]) for name, benchmark in BENCHMARKS.items() if name in figures]
    if meta_steps := {name: figures[name] for name in META_STEPS if name in figures}:
        texts.insert(0, meta_step_tables(meta_steps))
    print("\n\n".join(texts))
    if config.out:
        write_json(Path(config.out), figures)


if __name__ == "__main__":
    report_errors(main)
