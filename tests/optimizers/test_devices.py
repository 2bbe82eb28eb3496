"""Optimizers on parameters with explicit shardings over eight devices."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reference.optimizers import OPTIMIZERS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("mode", "names"),
    [("compiled", ("lion", "top-k", "nuclear")), pytest.param("eager", (*OPTIMIZERS,), marks=pytest.mark.slow)],
    ids=["compiled", "eager"],
)
def test_shardings_are_kept_and_results_equal_those_of_one_device(mode, names):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "tests.reference.sharded_optimizers", mode, *names]
    process = subprocess.run(command, cwd=ROOT, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["devices"] == 8
    assert {name: result["wrong"] for name, result in report["optimizers"].items()} == {name: [] for name in names}
    assert max(result["difference"] for result in report["optimizers"].values()) < 1e-6
