"""Training of agents under several drifts and with several seeds in one resumable loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from envs.names import unknown_name
from experiments.agents.env_setup import EnvSetup, env_setup
from experiments.cli.command_line import check_contract, is_import_path
from experiments.cli.environments import reference
from experiments.cli.study import StudyRun, run_study
from experiments.drift.build import DRIFTS, make_drift
from experiments.drift.config import PPOConfig
from lopt.agents import PPOLifetime
from lopt.evaluation import bootstrap, curves, mean, table, write_report, write_results
from lopt.objectives import Drift
from lopt.rules import list_rules, load_rule, rebuild
from lopt.rules.registry import find
from lopt.training import Outcome, RunFolder, jit_repeated, run, status
from lopt.types import Key, Metrics, Theta


@dataclass(frozen=True)
class Method:
    """One of the methods that are compared.

    Attributes:
        name: of the drift.
        lifetime: of a PPO agent under the drift.
        theta: meta-parameters of the drift; `()` for one without.
    """

    name: str
    lifetime: PPOLifetime
    theta: Theta


def main(config: PPOConfig) -> Outcome:
    """Train the agents, then evaluate them."""
    setup = env_setup(config.env, config.inner.settings(config.env))
    methods = [Method(name, setup.lifetime(drift, config.episodes), theta) for name, drift, theta in drifts(config)]
    level = setup.levels(jax.random.key(config.run.seed))

    def init(key: Key):
        keys = jax.random.split(key, config.seeds)
        # agents of a seed have the same initial state under every drift
        return {m.name: jax.vmap(lambda k, m=m: m.lifetime.init(k, m.theta, level))(keys) for m in methods}

    def step(key: Key, state):
        keys = jax.random.split(key, config.seeds)
        after: dict[str, Any] = {}
        metrics: Metrics = {}
        for m in methods:
            one = jax.vmap(lambda k, s, m=m: m.lifetime.step(k, m.theta, level, s))
            after[m.name], info = one(keys, state[m.name])
            metrics |= _summary(m.name, info.metrics)
        return after, metrics

    if own := [name for name in config.drifts if is_import_path(name)]:
        check_contract(", ".join(own), init, step)

    def train(folder: RunFolder) -> Outcome:
        num_updates = setup.settings.num_updates
        return run(
            config.run,
            folder,
            init=init,
            step=step,
            num_steps=num_updates,
            chunk=max(d for d in range(1, config.updates_per_chunk + 1) if num_updates % d == 0),
            headline=tuple(f"{m.name}/return" for m in methods),
            finite=tuple(f"{m.name}/loss" for m in methods),
            unit="update",
        )

    def report(folder: RunFolder, outcome: Outcome) -> None:
        returns = {}
        with status("evaluating the agents", config.run.progress):
            keys = jax.random.split(jax.random.key(7), config.seeds)
            for m in methods:
                evaluate = setup.evaluator(m.lifetime, config.episodes)
                many = jit_repeated(jax.vmap(lambda k, s, evaluate=evaluate: evaluate(k, level, s)))
                returns[m.name] = np.asarray(many(keys, outcome.state[m.name]))
        write(config, folder, setup, returns)

    shown = partial(learning_curves, names=[m.name for m in methods])
    return run_study(StudyRun(config=config, title=title(config), train=train, curves=shown, report=report))


def title(config: PPOConfig) -> str:
    """Title of the report."""
    return f"Agents in {config.env}"


def drifts(config: PPOConfig) -> list[tuple[str, Drift, Theta]]:
    """Name, drift and meta-parameters of every entry of `config.drifts`.

    Raises:
        ValueError: an unknown name that is no shipped rule, rule file or import path, or something else than a drift.
    """
    shipped = list_rules().names
    entries: list[tuple[str, Drift, Theta]] = []
    for name in config.drifts:
        if name in DRIFTS:
            entries.append((name, DRIFTS[name], ()))
            continue
        if name not in shipped and not Path(name.removesuffix(".npz").removesuffix(".json") + ".json").exists():
            if not is_import_path(name):
                raise unknown_name("drift (nor is there a rule file of this name)", name, DRIFTS)
            drift = make_drift(name)
            entries.append((name.rpartition(".")[2], drift, drift.init(jax.random.key(config.run.seed))))
            continue
        rule = load_rule(find(name))
        drift = rebuild(rule.card)
        if not isinstance(drift, Drift):
            raise ValueError(f"drifts: {name} is a rule of another kind (got {rule.card.kind}, expected a drift)")
        entries.append((name if name in shipped else Path(name).parent.name or "learned", drift, rule.theta))
    return entries


def _summary(name: str, per_seed: Metrics) -> Metrics:
    """Statistics over seeds: mean and quartiles of the returns of episodes that ended, means of other metrics."""
    returns = per_seed["episode_return"]
    ended = jnp.isfinite(returns)
    low, high = jnp.nanpercentile(returns, jnp.array([25.0, 75.0]))
    spread = {"return": returns.mean(where=ended), "return_low": low, "return_high": high}
    others = {key: per_seed[key].mean() for key in ("loss", "kl", "policy_entropy", "critic_loss")}
    return {f"{name}/{key}": value for key, value in (spread | others).items()}


def learning_curves(folder: RunFolder, names: Sequence[str]) -> str:
    """Draw the learning curves of the agents as `curves.png`; returns Markdown that shows them.

    `names` are the drifts.
    """
    measures = {
        "return of the episodes that ended": "return",
        "entropy of the policy (nats)": "policy_entropy",
        "KL of an update (nats)": "kl",
        "value loss: squared error": "critic_loss",
    }
    panels = {title: {f"{name}/{metric}": name for name in names} for title, metric in measures.items()}
    caption = "Means over the seeds: raw values pale, moving means on top."
    return curves(folder, panels, "update of the agents", caption=caption)


def write(config: PPOConfig, folder: RunFolder, setup: EnvSetup, returns: dict[str, np.ndarray]) -> None:
    """Write `report.md` and `results.json`; `returns` are mean returns `[seeds]` by drift."""
    published = reference(config.env)
    rows = [
        (name, bootstrap(values, mean), bootstrap(published.score(values), mean) if published else "")
        for name, values in returns.items()
    ]
    header = ("drift", "return", "random = 0, reference = 1")
    text = table(header, rows) + (
        f"\n\nMean over {config.seeds} agent seeds and {config.episodes} fresh episodes each after "
        f"{setup.settings.total_steps:,} environment steps, with 95 % bootstrap intervals over the seeds."
    )
    if published:
        text += (
            f" Reference {published.reference:g}: {published.source}. "
            f"Random {published.random:g}: {published.random_source}."
        )
    sections = {"Trained agents": text}
    if drawn := learning_curves(folder, list(returns)):
        sections["Learning curves"] = drawn
    write_results(folder, {"seed": config.run.seed, "returns": returns, "settings": vars(setup.settings)})
    write_report(folder, title(config), config, sections)
