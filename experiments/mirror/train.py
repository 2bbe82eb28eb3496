"""Meta-training of drifts: the run of `experiments.lpo`."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax

from experiments.common.cli import command_line
from experiments.common.evolution import evolution
from experiments.common.folder import RunFolder, open_folder
from experiments.common.logging import Logger
from experiments.common.loop import Hook, run, untrained
from experiments.common.progress import status
from experiments.common.unfinished import join_notes, leave
from experiments.mirror import agents, surface
from experiments.mirror.build import DRIFTS, World, world
from experiments.mirror.config import MirrorConfig
from experiments.mirror.report import learning, title, write
from lopt.agents import FinalReturn, LifeReturn, Together
from lopt.curriculum import DomainRandomisation, Uniform
from lopt.export import card_of, save_rule
from lopt.meta import MetaLearner
from lopt.objectives import LPO, HeldTime, NoTime
from lopt.protocols import Lifetime
from lopt.types import Key, Level, MetaState, Theta


@dataclass(frozen=True)
class Study:
    """The parts of a run."""

    worlds: tuple[World, ...]
    drift: LPO
    learner: MetaLearner

    def init(self, key: Key) -> MetaState:
        """The state before the first meta-step."""
        key_rule, key_learner = jax.random.split(key)
        return self.learner.init(key_learner, self.drift.init(key_rule))


def build(config: MirrorConfig) -> Study:
    """Assemble a study."""
    worlds = tuple(world(name, config.inner.settings(name)) for name in config.envs)
    unknown = [w.name for w in worlds if w.scale is None]
    if len(worlds) > 1 and unknown:
        raise ValueError(
            f"envs: several environments are weighed by reference returns, and none is known for {', '.join(unknown)}; "
            "train on each alone, or on those of envs.references"
        )
    drift = config.drift.drift([w.settings.num_updates for w in worlds])
    lives: list[Lifetime] = []
    for w in worlds:
        lifetime = w.lifetime(drift, config.es.episodes)
        scale = w.scale if len(worlds) > 1 else 1.0
        if config.meta.fitness == "life":
            lives.append(LifeReturn(lifetime, scale=scale))
        else:
            lives.append(FinalReturn(lifetime, w.measure(lifetime, config.es.episodes), scale))
    whole = Together(tuple(lives), config.envs)

    def levels(key: Key) -> Level:
        keys = jax.random.split(key, len(worlds))
        return whole.level(tuple(w.levels(k) for w, k in zip(worlds, keys, strict=True)))

    longest = max(w.settings.num_updates for w in worlds)
    rate = optax.cosine_decay_schedule(config.meta.learning_rate, config.meta.num_steps, config.meta.final_rate)
    estimator, optimizer = evolution(config.es, whole, drift.init, longest, rate)
    learner = MetaLearner(
        estimator, DomainRandomisation(levels), Uniform(), optimizer, config.meta.num_lifetimes, stagger=False
    )
    return Study(worlds, drift, learner)


def main(config: MirrorConfig) -> None:
    """Meta-train, then compare."""
    study = build(config)
    tests = [world(name, config.inner.settings(name)) for name in config.test_envs]
    folder = open_folder(config, command_line())
    outcome = run(
        config.run,
        folder,
        init=study.init,
        step=study.learner.step,
        num_steps=config.meta.num_steps,
        chunk=config.meta.steps_per_chunk,
        hooks=[Hook(config.eval.every, Validation(config, study), at_start=True)],
        headline=("meta_loss",),
        finite=("meta_loss",),
        unit="meta-step",
    )
    theta = jax.device_get(outcome.state.theta)
    keep = partial(export, config, study, folder, theta, outcome.step)
    if outcome.stopped:
        leave(config, folder, outcome, title(config), partial(learning, config, folder), keep)
        return
    keep()
    surface.draw(study.drift, theta, folder.file("drift.png"))
    worlds = {w.name: w for w in (*study.worlds, *tests)}
    newborn = untrained(config.run, study.init)
    with status("training agents under the drift, PPO and DPO", config.run.progress):
        found = {name: compare(config, w, study.drift, theta, newborn) for name, w in worlds.items()}
        agents.draw(found, worlds, folder.file("agents.png"))
        for w in study.worlds:
            found[w.name] |= without_clock(config, w, study.drift, theta)
    write(config, folder, found, worlds)
    print(f"report: {folder.path / 'report.md'}")


def export(
    config: MirrorConfig, study: Study, folder: RunFolder, theta: Theta, steps: int, note: str | None = None
) -> Path:
    """Write `rule.npz` and `rule.json`; `note` is where a stopped run stands."""
    card = card_of(
        study.drift,
        command=folder.command,
        seed=config.run.seed,
        meta_steps=steps,
        notes=join_notes(f"drift of PPO, meta-trained on {', '.join(config.envs)}", note),
    )
    return save_rule(folder.file("rule"), theta, card)


def compare(config: MirrorConfig, world: World, drift: LPO, theta: Theta, newborn: Theta) -> dict[str, agents.Learned]:
    """Agents under the drift, before and after meta-training, and under those without meta-parameters: same keys."""
    keys = agent_keys(config)
    ruled = agents.teach(world, drift, config.eval.episodes)
    found = {"learned drift": ruled(keys, theta), "untrained drift": ruled(keys, newborn)}
    for name, fixed in DRIFTS.items():
        found[name.upper()] = agents.teach(world, fixed, config.eval.episodes)(keys, ())
    return found


def without_clock(config: MirrorConfig, world: World, drift: LPO, theta: Theta) -> dict[str, agents.Learned]:
    """The same agents under a drift that knows the time, but whose clock stands still; none for one that does not."""
    found = {}
    for age in () if isinstance(drift.conditioning, NoTime) else surface.AGES:
        held = replace(drift, conditioning=HeldTime(drift.conditioning, age))
        found[f"learned drift, told n/N = {age:g}"] = agents.teach(world, held, config.eval.episodes)(
            agent_keys(config), theta
        )
    return found


def agent_keys(config: MirrorConfig) -> Key:
    """The keys of the agents of the report."""
    return jax.random.split(jax.random.key(20_221_011), config.eval.seeds)


class Validation:
    """The learning curve: agents of a few fixed seeds under the mean drift."""

    def __init__(self, config: MirrorConfig, study: Study):
        self.teach = [agents.teach(w, study.drift, config.eval.episodes) for w in study.worlds]
        self.keys = jax.random.split(jax.random.key(1), min(8, config.eval.seeds))
        self.names = [w.name for w in study.worlds]

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean final return in each environment."""
        theta = jax.tree.map(np.asarray, state.theta)
        found = {
            name: float(teach(self.keys, theta).final.mean())
            for name, teach in zip(self.names, self.teach, strict=True)
        }
        logger.log(step, {f"validation/{name}": value for name, value in found.items()})
        logger.message(f"meta-step {step}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
