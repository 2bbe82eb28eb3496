"""The run of `experiments.ppo`: agents of several drifts and seeds in one resumable loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.common.cli import command_line, near_match_error
from experiments.common.compiling import often
from experiments.common.folder import RunFolder, open_folder
from experiments.common.loop import run
from experiments.common.progress import status
from experiments.common.report import curves, table, write_report, write_results
from experiments.common.stats import bootstrap, mean
from experiments.common.unfinished import leave
from experiments.mirror.build import DRIFTS, World, world
from experiments.mirror.environments import reference
from experiments.ppo.config import PPOConfig
from lopt.agents import PPOLifetime
from lopt.export import load_rule, rebuild
from lopt.objectives import Drift
from lopt.types import Key, Metrics, Theta


@dataclass(frozen=True)
class Taught:
    """One drift, and the agents that learn under it."""

    name: str
    lifetime: PPOLifetime
    theta: Theta


def main(config: PPOConfig) -> None:
    """Train, then measure."""
    here = world(config.env, config.inner.settings(config.env))
    taught = [Taught(name, here.lifetime(drift, config.episodes), theta) for name, drift, theta in drifts(config)]
    level = here.levels(jax.random.key(config.run.seed))

    def init(key: Key):
        keys = jax.random.split(key, config.seeds)
        # agents of a seed start alike under every drift
        return {t.name: jax.vmap(lambda k, t=t: t.lifetime.init(k, t.theta, level))(keys) for t in taught}

    def step(key: Key, state):
        keys, after, metrics = jax.random.split(key, config.seeds), {}, {}
        for t in taught:
            one = jax.vmap(lambda k, s, t=t: t.lifetime.step(k, t.theta, level, s))
            after[t.name], told = one(keys, state[t.name])
            metrics |= _summary(t.name, told)
        return after, metrics

    folder = open_folder(config, command_line())
    num = here.settings.num_updates
    chunk = max(d for d in range(1, config.updates_per_chunk + 1) if num % d == 0)
    outcome = run(
        config.run,
        folder,
        init=init,
        step=step,
        num_steps=num,
        chunk=chunk,
        headline=tuple(f"{t.name}/return" for t in taught),
        finite=tuple(f"{t.name}/loss" for t in taught),
        unit="update",
    )
    if outcome.stopped:
        names = [t.name for t in taught]
        leave(config, folder, outcome, f"Agents in {config.env}", partial(learning, folder, names))
        return
    final = {}
    with status("measuring the agents", config.run.progress):
        for t in taught:
            measure = here.measure(t.lifetime, config.episodes)
            go = often(jax.vmap(lambda k, s, m=measure: m(k, level, s)))
            final[t.name] = np.asarray(go(jax.random.split(jax.random.key(7), config.seeds), outcome.state[t.name]))
    write(config, folder, here, final)
    print(f"report: {folder.path / 'report.md'}")


def drifts(config: PPOConfig) -> list[tuple[str, Drift, Theta]]:
    """Names, drifts and meta-parameters of what was asked for.

    Raises:
        ValueError: an unknown name that is no rule file either, or a rule of another kind.
    """
    found: list[tuple[str, Drift, Theta]] = []
    for name in config.drifts:
        if name in DRIFTS:
            found.append((name, DRIFTS[name], ()))
            continue
        if not Path(name).with_suffix(".json").exists():
            raise near_match_error("drift (nor is there a rule file of this name)", name, DRIFTS)
        rule = load_rule(name)
        drift = rebuild(rule.card)
        if not isinstance(drift, Drift):
            raise ValueError(f"drifts: {name} is a rule of another kind (got {rule.card.kind}, expected a drift)")
        found.append((Path(name).parent.name or "learned", drift, rule.theta))
    return found


def _summary(name: str, told: Metrics) -> Metrics:
    """Over the seeds: returns of the episodes that ended, in the mean and of the middle half; other metrics' means."""
    returns = told["episode_return"]
    known = jnp.isfinite(returns)
    low, high = jnp.nanpercentile(returns, jnp.array([25.0, 75.0]))
    spread = {"return": returns.mean(where=known), "return_low": low, "return_high": high}
    others = {key: told[key].mean() for key in ("loss", "kl", "policy_entropy", "critic_loss")}
    return {f"{name}/{key}": value for key, value in (spread | others).items()}


def learning(folder: RunFolder, names: Sequence[str]) -> str:
    """Draw the learning curves of the agents under these drifts; the Markdown that shows them."""
    measures = {
        "return of the episodes that ended": "return",
        "entropy of the policy (nats)": "policy_entropy",
        "KL of an update (nats)": "kl",
        "value: squared error": "critic_loss",
    }
    panels = {text: {f"{name}/{what}": name for name in names} for text, what in measures.items()}
    caption = "Means over the seeds: raw values pale, moving means on top."
    return curves(folder, panels, "update of the agents", caption=caption)


def write(config: PPOConfig, folder: RunFolder, here: World, final: dict[str, np.ndarray]) -> None:
    """Write what shows the result; `final` are mean returns `[seeds]`."""
    known = reference(config.env)
    rows = [
        (name, bootstrap(values, mean), bootstrap(known.score(values), mean) if known else "")
        for name, values in final.items()
    ]
    header = ("agents under", "return", "random = 0, reference = 1")
    text = table(header, rows) + (
        f"\n\nMean over {config.seeds} agent seeds and {config.episodes} fresh episodes each after "
        f"{here.settings.total_steps:,} environment steps, with 95 % bootstrap intervals over the seeds."
    )
    if known:
        text += f" Reference {known.reference:g}: {known.source}. Random {known.random:g}: {known.random_source}."
    sections = {"Trained agents": text}
    if drawn := learning(folder, list(final)):
        sections["Learning"] = drawn
    write_results(folder, {"seed": config.run.seed, "returns": final, "settings": vars(here.settings)})
    write_report(folder, f"Agents in {config.env}", config, sections)
