"""Numbers of a configuration that are out of range are refused, by the name of their option."""

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from experiments.common.checks import at_least, between, positive
from experiments.common.evolution import ESConfig
from experiments.distil.config import DistilConfig
from experiments.gpicl.config import StudyConfig as GPICLConfig
from experiments.gridworld.config import StudyConfig as GridConfig
from experiments.icl_uncertainty.config import StudyConfig as ICLConfig
from experiments.learned_optimizer.config import StudyConfig as OptimizerConfig
from experiments.lion_search.config import StudyConfig as LionConfig
from experiments.mesa.config import MesaConfig
from experiments.mirror.build import DriftConfig
from experiments.mirror.config import MirrorConfig
from experiments.mirror.settings import InnerConfig, Settings
from experiments.ppo.config import PPOConfig

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Some:
    """Numbers of all kinds."""

    rate: float = 1.0
    widths: tuple[int, ...] = (1, 2)
    optional: float | None = None


def test_the_message_names_option_value_and_what_is_expected():
    for value in (-1.0, 0.0, NAN, -INF):
        with pytest.raises(ValueError, match=rf"^meta.rate must be positive \(got {value}\)$"):
            positive(Some(rate=value), "rate", prefix="meta.")
    with pytest.raises(ValueError, match=r"^rate must be positive and finite \(got inf\)$"):
        positive(Some(rate=INF), "rate")
    positive(Some(rate=INF), "rate", infinite=True)
    with pytest.raises(ValueError, match=r"^rate must be positive \(got nan\)$"):
        positive(Some(rate=NAN), "rate", infinite=True)
    with pytest.raises(ValueError, match=r"^widths must be at least 2 \(got 1\)$"):
        at_least(2, Some(), "widths")
    for value in (NAN, INF):
        with pytest.raises(ValueError, match="rate must be at least 0"):
            at_least(0, Some(rate=value), "rate")
    with pytest.raises(ValueError, match=r"^rate must be between 0 and 1 \(got 1.5\)$"):
        between(0, 1, Some(rate=1.5), "rate")
    with pytest.raises(ValueError, match=r"^rate must be at least 0 and below 1 \(got 1.0\)$"):
        between(0, 1, Some(rate=1.0), "rate", below=True)
    with pytest.raises(ValueError, match="rate must be between"):
        between(0, 1, Some(rate=NAN), "rate")


def test_what_is_in_range_or_not_given_passes():
    positive(Some(), "rate", "widths", "optional")
    at_least(1, Some(), "rate", "widths", "optional")
    between(0, 1, Some(), "rate", "optional")
    between(0, 2, Some(), "widths", below=False)


def put(config: Any, path: str, value: Any) -> Any:
    """The configuration with one field changed, however deep it lies."""
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: put(getattr(config, name), rest, value) if rest else value})


def evolution(**changes: Any) -> Any:
    return lambda: ESConfig(**changes).check(64)


WRONG = [
    (GridConfig, "meta.learning_rate", (-1.0, 0.0, NAN, INF)),
    (GridConfig, "meta.final_rate", (-0.1, NAN)),
    (GridConfig, "meta.lifetime_norm", (0.0, NAN)),
    (GridConfig, "meta.num_updates", (0, -5)),
    (GridConfig, "meta.num_steps", (0, -20)),
    (GridConfig, "curriculum.episodes", (0, -1)),
    (GridConfig, "curriculum.temperature", (0.0, NAN)),
    (GridConfig, "curriculum.replay_probability", (-0.1, 1.1, NAN)),
    (GridConfig, "rule.hidden", (0,)),
    (GridConfig, "agent.num_envs", (0,)),
    (GridConfig, "agent.policy_rate", (0.0, NAN)),
    (GridConfig, "agent.gamma", (1.5, NAN)),
    (GridConfig, "agent.net_hidden", ((32, 0),)),
    (MirrorConfig, "meta.learning_rate", (-1.0, 0.0, NAN)),
    (MirrorConfig, "eval.episodes", (0,)),
    (MirrorConfig, "meta.num_lifetimes", (0,)),
    (MirrorConfig, "es.std", (0.0, NAN)),
    (MirrorConfig, "es.episodes", (0,)),
    (MirrorConfig, "es.b1", (1.0, -0.1, NAN)),
    (MirrorConfig, "inner.total_steps", (-5, 0)),
    (MirrorConfig, "drift.xi", (-1.0, NAN)),
    (PPOConfig, "inner.learning_rate", (-1.0, 0.0, NAN)),
    (PPOConfig, "inner.lam", (1.5,)),
    (PPOConfig, "episodes", (0,)),
    (OptimizerConfig, "training.lifetime", (0,)),
    (OptimizerConfig, "training.bound", (0.0, NAN)),
    (OptimizerConfig, "training.lateness", (NAN,)),
    (OptimizerConfig, "meta.std", (0.0, NAN)),
    (OptimizerConfig, "meta.learning_rate", (-1.0, NAN)),
    (OptimizerConfig, "eval.tuning_seeds", (0, -1)),
    (LionConfig, "search.batch", (0,)),
    (LionConfig, "search.plateau", (0,)),
    (LionConfig, "eval.lifetime", (0,)),
    (GPICLConfig, "meta.learning_rate", (-1.0, NAN)),
    (GPICLConfig, "model.layers", (0,)),
    (GPICLConfig, "tasks.in_place", (1.5, NAN)),
    (ICLConfig, "training.learning_rate", (-1.0, NAN)),
    (ICLConfig, "task.dimensions", (0,)),
    (ICLConfig, "task.noises", ((0.5, NAN),)),
    (MesaConfig, "systems.learning_rate", (0.0, NAN)),
    (MesaConfig, "rotations.length", (0,)),
    (DistilConfig, "search.plateau", (0,)),
    (DistilConfig, "drift.fraction", (NAN,)),
    (DistilConfig, "drift.spread", (INF,)),
]


@pytest.mark.parametrize(
    ("kind", "path", "value"), [(kind, path, value) for kind, path, values in WRONG for value in values]
)
def test_every_study_refuses_numbers_out_of_range(kind, path, value):
    with pytest.raises(ValueError, match=path.split(".")[-1].replace("_", "-") + "|number of steps"):
        put(kind(), path, value)


def test_numbers_of_the_parts_are_checked_where_they_are_made():
    for build, message in (
        (lambda: InnerConfig(total_steps=-5), r"inner.total-steps must be at least 1 \(got -5\)"),
        (lambda: Settings(total_steps=511), r"at least one rollout .* = 512 steps \(got 511\)"),
        (lambda: InnerConfig(total_steps=100).settings("CartPole-v1"), "at least one rollout"),
        (lambda: DriftConfig(hidden=0), "drift.hidden must be at least 1"),
        (evolution(std=NAN), r"es.std must be positive \(got nan\)"),
        (evolution(episodes=0), "es.episodes must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    assert Settings(total_steps=512).num_updates == 1


@pytest.mark.parametrize(
    ("study", "option", "message"),
    [
        ("ppo", ("--inner.total-steps", "-5"), "inner.total-steps must be at least 1 (got -5)"),
        ("groove", ("--meta.learning-rate", "-1"), "meta.learning-rate must be positive (got -1.0)"),
        ("groove", ("--curriculum.episodes", "0"), "curriculum.episodes must be at least 1 (got 0)"),
    ],
)
def test_the_command_line_says_so_and_exits_with_two(study, option, message, tmp_path):
    command = [sys.executable, "-m", f"experiments.{study}", *option, "--out", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and message in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()
