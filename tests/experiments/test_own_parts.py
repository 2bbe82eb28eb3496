"""Parts of another package on the command line: objectives, scores, levels, optimizers, tasks, drifts and models."""

import dataclasses
import json
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments.cli.evolution import ESConfig
from experiments.drift import ppo
from experiments.drift import train as drift
from experiments.drift.build import DriftConfig
from experiments.drift.config import PPOConfig
from experiments.grid import train as grid
from experiments.grid.build import build as build_grid
from experiments.incontext.gpicl import train as gpicl
from experiments.incontext.gpicl.build import build as build_gpicl
from experiments.incontext.gpicl.config import ModelConfig
from experiments.optimizer import train as optimizer
from experiments.optimizer.build import build as build_optimizer
from lopt.curriculum import AlgorithmicRegret
from lopt.meta import PES, EvosaxES, MetaGradient
from lopt.rules import load, load_rule, rebuild
from lopt.training import Outcome, open_folder
from tests.experiments import test_drift, test_gpicl, test_gridworld, test_learned_optimizer

PACKAGE = '''
from dataclasses import dataclass

import jax.numpy as jnp
import optax

from envs import Fixed
from envs.gridworld import All
from lopt import policies, tasks


@dataclass(frozen=True)
class ScaledReward:
    """REINFORCE with reward times a learned scale: the smallest learned objective."""

    initial: float = 1.0

    @property
    def prediction_size(self):
        return 0

    def init(self, key):
        return {"scale": jnp.float32(self.initial)}

    def targets(self, theta, traj, out, out_next, progress):
        return theta["scale"] * traj.reward

    def loss(self, theta, out, traj, targets, progress):
        return -(policies.log_prob(out.policy, traj.action) * targets).mean(), {}


class Unfinished(ScaledReward):
    def loss(self, theta, out, traj, targets, progress):
        return targets


@dataclass(frozen=True)
class Age:
    def init(self, key, level):
        return jnp.zeros(())

    def advance(self, key, level, state, updates):
        return state + 1

    def score(self, key, level, learner, state):
        return state


def tiny(num_updates):
    return All(sizes=(4, 4), wall_range=4, num_walls=1, objects=(1, 1), num_updates=num_updates)


@dataclass(frozen=True)
class LearnedRate:
    def init(self, key):
        return jnp.float32(-3.0)

    def as_optax(self, theta):
        return optax.with_extra_args_support(optax.scale_by_learning_rate(jnp.exp(theta)))


def small_quadratic():
    return tasks.Quadratic(dimensions=2)


@dataclass(frozen=True)
class SquareDrift:
    """f(r, A) = scale^2 (r - 1)^2."""

    time_aware = False

    def init(self, key):
        return {"scale": jnp.float32(0.5)}

    def __call__(self, theta, log_ratio, advantage, progress):
        return jnp.square(theta["scale"] * jnp.expm1(log_ratio)) + 0 * advantage


class NoDrift:
    def init(self, key):
        return ()


class UnsavedDrift(SquareDrift):
    pass


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """Logits proportional to how often a label occurred."""

    inputs: int
    targets: int
    outputs: int

    def init(self, key):
        return {"scale": jnp.float32(1.0)}

    def apply(self, theta, xs, ys_prev):
        return theta["scale"] * jnp.cumsum(ys_prev, 0)

    def state_size(self, length):
        return self.targets


class ShortOutputs(LabelCounts):
    def apply(self, theta, xs, ys_prev):
        return ys_prev[:, :1]
'''


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    (tmp_path / "ownparts.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("ownparts", None)


def grid_config(tmp_path, **options):
    """The smallest configuration with these options, given by their paths."""
    config = test_gridworld.TINY
    run = dataclasses.replace(config.run, out=str(tmp_path / "run"), progress=False)
    changed = dataclasses.replace(config, run=run)
    for path, value in options.items():
        group, _, name = path.rpartition(".")
        new = dataclasses.replace(getattr(changed, group), **{name: value}) if group else value
        changed = dataclasses.replace(changed, **{group or name: new})
    return changed


def test_an_objective_a_score_and_levels_are_trained_and_saved(tmp_path):
    names = {"rule.objective": "ownparts.ScaledReward", "score": "ownparts.Age", "levels.distribution": "ownparts.tiny"}
    config = grid_config(tmp_path, **names)
    grid.main(config)
    rule = load_rule(tmp_path / "run" / "rule")
    assert rule.card.kind == "ownparts.ScaledReward" and rebuild(rule.card).initial == 1.0
    assert np.isfinite(rule.theta["scale"]) and rule.theta["scale"] != 1
    assert (tmp_path / "run" / "report.md").stat().st_size > 1000
    # in a process that has not imported the package, the class is not found, and nothing is imported
    del sys.modules["ownparts"]
    with pytest.raises(ValueError, match="no imported dataclass 'ownparts.ScaledReward'.*after `import ownparts`"):
        rebuild(rule.card)
    assert "ownparts" not in sys.modules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule.objective": "ownparts.Unfinished"}, "ownparts.Unfinished does not fulfil its contract"),
        ({"rule.objective": "ownparts.Missing"}, "objective: cannot import 'ownparts.Missing'"),
        ({"rule.objective": "nopackage.Rule"}, "objective: cannot import 'nopackage.Rule' .No module"),
        ({"rule.objective": "lgp"}, "unknown objective 'lgp'; did you mean lpg"),
        ({"score": "ownparts.Missing"}, "score: cannot import"),
    ],
)
def test_parts_that_do_not_fit(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        build_grid(grid_config(tmp_path, **options))


def test_an_optimizer_and_a_task_are_trained_and_saved(tmp_path):
    tiny = test_learned_optimizer.TINY
    config = dataclasses.replace(
        tiny,
        run=dataclasses.replace(tiny.run, out=str(tmp_path / "run"), progress=False),
        rule=dataclasses.replace(tiny.rule, name="ownparts.LearnedRate"),
        training=dataclasses.replace(tiny.training, task="ownparts.small_quadratic"),
    )
    optimizer.main(config)
    rule = load_rule(tmp_path / "run" / "rule")
    assert rule.card.kind == "ownparts.LearnedRate" and rule.theta != np.float32(-3.0)


@pytest.mark.parametrize(
    ("meta", "curriculum", "kind"),
    [
        ({"estimator": "SNES", "population": 4}, {}, EvosaxES),
        ({"estimator": "pes"}, {"name": "replay", "capacity": 8}, PES),
        ({"estimator": "meta_gradient"}, {"name": "replay", "capacity": 8, "antagonist": "Lion"}, MetaGradient),
    ],
)
def test_learned_optimizers_take_any_estimator_and_curriculum(meta, curriculum, kind):
    tiny = test_learned_optimizer.TINY
    config = dataclasses.replace(
        tiny,
        meta=dataclasses.replace(tiny.meta, **meta),
        curriculum=dataclasses.replace(tiny.curriculum, **curriculum),
    )
    study = build_optimizer(config)
    assert isinstance(study.learner.estimator, kind)
    assert isinstance(study.learner.score, AlgorithmicRegret) == bool(curriculum)
    state = jax.jit(study.learner.init)(jax.random.key(0))
    after, metrics = jax.jit(study.learner.step)(jax.random.key(1), state)
    assert np.isfinite(metrics["meta_loss"])
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (after.theta, state.theta)), strict=True))


def test_grid_worlds_take_persistent_evolution_strategies(tmp_path):
    study = build_grid(grid_config(tmp_path, **{"meta.estimator": "pes"}))
    assert isinstance(study.learner.estimator, PES)
    after, metrics = jax.eval_shape(
        study.learner.step, jax.random.key(1), jax.eval_shape(study.init, jax.random.key(0))
    )
    assert {"meta_loss", "final_return"} <= set(metrics)


def test_a_drift_of_another_package_is_meta_trained_saved_and_compared(tmp_path):
    tiny = test_drift.TINY
    config = dataclasses.replace(
        tiny,
        run=dataclasses.replace(tiny.run, out=str(tmp_path / "lpo")),
        drift=DriftConfig(name="ownparts.SquareDrift"),
    )
    study = drift.build(config)
    state = jax.eval_shape(study.learner.init, jax.random.key(0))
    assert set(state.theta) == {"scale"}
    folder = open_folder(config, "python -m experiments.lpo")
    drift.export(config, study, folder, Outcome(SimpleNamespace(theta=study.drift.init(jax.random.key(0))), 0, False))
    assert load_rule(tmp_path / "lpo" / "rule").card.kind == "ownparts.SquareDrift"
    names = ("ownparts.SquareDrift", str(tmp_path / "lpo" / "rule"))
    agents = PPOConfig(
        run=dataclasses.replace(tiny.run, out=str(tmp_path / "ppo")),
        drifts=names,
        inner=tiny.inner,
        seeds=2,
        episodes=2,
    )
    ppo.main(agents)
    results = json.loads((tmp_path / "ppo" / "results.json").read_text())["returns"]
    assert results["SquareDrift"] == results["lpo"]  # the same drift with the same meta-parameters


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ownparts.NoDrift", "ownparts.NoDrift is no drift"),
        ("ownparts.Missing", "drift: cannot import 'ownparts.Missing'"),
        ("pop", "unknown drift 'pop'"),
    ],
)
def test_drifts_that_do_not_fit(name, message):
    with pytest.raises(ValueError, match=message):
        drift.build(dataclasses.replace(test_drift.TINY, drift=DriftConfig(name=name)))
    with pytest.raises(ValueError, match=message.replace("unknown drift", "unknown drift .*")):
        ppo.drifts(PPOConfig(drifts=(name,)))


@pytest.mark.parametrize("fitness", ["final", "lifetime"])
def test_drifts_take_persistent_evolution_strategies(fitness):
    config = dataclasses.replace(
        test_drift.TINY,
        inner=dataclasses.replace(test_drift.INNER, total_steps=32, learning_rate=0.3, epochs=4),
        meta=dataclasses.replace(test_drift.TINY.meta, estimator="pes", num_updates=2, fitness=fitness),
        es=ESConfig(std=1.0, shaping="raw", episodes=2),
    )
    study = drift.build(config)
    assert isinstance(study.learner.estimator, PES) and study.learner.stagger
    if fitness == "final":  # compiled and run only with the fitness that is faster to compile
        shape = jax.eval_shape(study.learner.init, jax.random.key(0))
        _, metrics = jax.eval_shape(study.learner.step, jax.random.key(1), shape)
        assert {"meta_loss", "CartPole-v1/final_return"} <= set(metrics)
        return
    state = jax.jit(study.learner.init)(jax.random.key(0))
    step = jax.jit(study.learner.step)
    first, finished = state.theta, 0
    for i in range(5):  # lifetimes of four updates end in between
        state, metrics = step(jax.random.key(i), state)
        assert np.isfinite(metrics["meta_loss"]) and metrics["frac_nonfinite"] == 0
        finished += int(metrics["finished"])
    assert finished >= 4
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (first, state.theta)), strict=True))


def test_persistent_evolution_strategies_refuse_an_algorithm_of_evosax():
    meta = dataclasses.replace(test_drift.TINY.meta, estimator="pes")
    with pytest.raises(ValueError, match="es.strategy must be pairs"):
        dataclasses.replace(test_drift.TINY, meta=meta, es=ESConfig(strategy="SNES"))


def test_a_sequence_model_of_another_package_is_meta_trained_and_saved(tmp_path):
    tiny = test_gpicl.TINY
    run = dataclasses.replace(tiny.run, out=str(tmp_path / "run"))
    gpicl.main(dataclasses.replace(tiny, run=run, model=ModelConfig(name="ownparts.LabelCounts")))
    card = load_rule(tmp_path / "run" / "rule").card
    assert card.config["model"] == {
        "kind": "ownparts.LabelCounts",
        "config": {"inputs": 3, "targets": 3, "outputs": 3},
    }
    probabilities = load(tmp_path / "run" / "rule").predict(np.eye(3), np.array([0, 0, 1]), np.eye(3)[0])
    assert probabilities[0, 0] > probabilities[0, 1]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ownparts.ShortOutputs", "ownparts.ShortOutputs does not fulfil its contract"),
        ("ownparts.tiny", r"ownparts.tiny.inputs, targets, outputs. cannot be called"),
        ("ownparts.Missing", "model: cannot import 'ownparts.Missing'"),
    ],
)
def test_models_that_do_not_fit(name, message):
    with pytest.raises(ValueError, match=message):
        build_gpicl(dataclasses.replace(test_gpicl.TINY, model=ModelConfig(name=name)))
