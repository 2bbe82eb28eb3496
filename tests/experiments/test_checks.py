"""Range checks: numbers out of range raise errors with the name of the option."""

import dataclasses
import math
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from experiments.agents.settings import InnerConfig, Settings
from experiments.cli.evolution import ESConfig
from experiments.drift.build import DriftConfig
from experiments.drift.config import DriftStudyConfig, PPOConfig
from experiments.grid.config import StudyConfig as GridConfig
from experiments.incontext.gpicl.config import StudyConfig as GPICLConfig
from experiments.incontext.mesa.config import MesaConfig
from experiments.incontext.uncertainty.config import StudyConfig as ICLConfig
from experiments.optimizer.config import StudyConfig as OptimizerConfig
from experiments.search.config import StudyConfig as LionConfig
from experiments.search.distil.config import DistilConfig
from lopt.training.checks import at_least, between, positive

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Numbers:
    """A number, a tuple, and an option that is not given."""

    rate: float = 1.0
    widths: tuple[int, ...] = (1, 2)
    optional: float | None = None


def test_the_message_has_the_option_its_value_and_the_expected_range():
    for value in (-1.0, 0.0, NAN, -INF):
        with pytest.raises(ValueError, match=rf"^meta.rate must be positive \(got {value}\)$"):
            positive(Numbers(rate=value), "rate", prefix="meta.")
    with pytest.raises(ValueError, match=r"^rate must be positive and finite \(got inf\)$"):
        positive(Numbers(rate=INF), "rate")
    positive(Numbers(rate=INF), "rate", infinite=True)
    with pytest.raises(ValueError, match=r"^rate must be positive \(got nan\)$"):
        positive(Numbers(rate=NAN), "rate", infinite=True)
    with pytest.raises(ValueError, match=r"^widths must be at least 2 \(got 1\)$"):
        at_least(2, Numbers(), "widths")
    for value in (NAN, INF):
        with pytest.raises(ValueError, match="rate must be at least 0"):
            at_least(0, Numbers(rate=value), "rate")
    with pytest.raises(ValueError, match=r"^rate must be between 0 and 1 \(got 1.5\)$"):
        between(0, 1, Numbers(rate=1.5), "rate")
    with pytest.raises(ValueError, match=r"^rate must be at least 0 and below 1 \(got 1.0\)$"):
        between(0, 1, Numbers(rate=1.0), "rate", below=True)
    with pytest.raises(ValueError, match="rate must be between"):
        between(0, 1, Numbers(rate=NAN), "rate")


def test_numbers_in_range_and_options_not_given_pass():
    positive(Numbers(), "rate", "widths", "optional")
    at_least(1, Numbers(), "rate", "widths", "optional")
    between(0, 1, Numbers(), "rate", "optional")
    between(0, 2, Numbers(), "widths", below=False)


def with_value(config: Any, path: str, value: Any) -> Any:
    """The configuration with the field at this path changed."""
    name, _, rest = path.partition(".")
    return dataclasses.replace(config, **{name: with_value(getattr(config, name), rest, value) if rest else value})


def evolution(**changes: Any) -> Any:
    return lambda: ESConfig(**changes).check(64)


OUT_OF_RANGE = [
    (GridConfig, "meta.learning_rate", (-1.0, 0.0, NAN, INF)),
    (GridConfig, "meta.final_rate", (-0.1, NAN)),
    (GridConfig, "meta.lifetime_norm", (0.0, NAN)),
    (GridConfig, "meta.num_updates", (0, -5)),
    (GridConfig, "meta.num_steps", (-1, -20)),
    (GridConfig, "curriculum.episodes", (0, -1)),
    (GridConfig, "curriculum.temperature", (0.0, NAN)),
    (GridConfig, "curriculum.replay_probability", (-0.1, 1.1, NAN)),
    (GridConfig, "rule.hidden", (0,)),
    (GridConfig, "agent.num_envs", (0,)),
    (GridConfig, "agent.policy_rate", (0.0, NAN)),
    (GridConfig, "agent.gamma", (1.5, NAN)),
    (GridConfig, "agent.net_hidden", ((32, 0),)),
    (DriftStudyConfig, "meta.learning_rate", (-1.0, 0.0, NAN)),
    (DriftStudyConfig, "eval.episodes", (0,)),
    (DriftStudyConfig, "meta.num_lifetimes", (0,)),
    (DriftStudyConfig, "es.std", (0.0, NAN)),
    (DriftStudyConfig, "es.episodes", (0,)),
    (DriftStudyConfig, "es.b1", (1.0, -0.1, NAN)),
    (DriftStudyConfig, "inner.total_steps", (-5, 0)),
    (DriftStudyConfig, "drift.xi", (-1.0, NAN)),
    (PPOConfig, "inner.learning_rate", (-1.0, 0.0, NAN)),
    (PPOConfig, "inner.lam", (1.5,)),
    (PPOConfig, "episodes", (0,)),
    (OptimizerConfig, "training.num_updates", (0,)),
    (OptimizerConfig, "training.bound", (0.0, NAN)),
    (OptimizerConfig, "training.loss_power", (NAN,)),
    (OptimizerConfig, "meta.std", (0.0, NAN)),
    (OptimizerConfig, "meta.learning_rate", (-1.0, NAN)),
    (OptimizerConfig, "eval.tuning_seeds", (0, -1)),
    (LionConfig, "search.batch", (0,)),
    (LionConfig, "search.plateau", (0,)),
    (LionConfig, "eval.num_updates", (0,)),
    (GPICLConfig, "meta.learning_rate", (-1.0, NAN)),
    (GPICLConfig, "model.layers", (0,)),
    (GPICLConfig, "tasks.unpermuted", (1.5, NAN)),
    (ICLConfig, "training.learning_rate", (-1.0, NAN)),
    (ICLConfig, "task.dimensions", (0,)),
    (ICLConfig, "task.noises", ((0.5, NAN),)),
    (MesaConfig, "systems.learning_rate", (0.0, NAN)),
    (MesaConfig, "diagonal_unitary.length", (0,)),
    (DistilConfig, "search.plateau", (0,)),
    (DistilConfig, "drift.fraction", (NAN,)),
    (DistilConfig, "drift.spread", (INF,)),
]


@pytest.mark.parametrize(
    ("kind", "path", "value"), [(kind, path, value) for kind, path, values in OUT_OF_RANGE for value in values]
)
def test_configurations_of_all_studies_reject_numbers_out_of_range(kind, path, value):
    with pytest.raises(ValueError, match=path.split(".")[-1].replace("_", "-") + "|number of steps"):
        with_value(kind(), path, value)


def test_parts_of_configurations_check_their_numbers():
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
def test_the_command_line_shows_the_message_and_exits_with_two(study, option, message, tmp_path):
    command = [sys.executable, "-m", f"experiments.{study}", *option, "--out", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr and message in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()
