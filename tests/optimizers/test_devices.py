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
    ("how", "names"),
    [("compiled", ("lion", "top-k", "nuclear")), pytest.param("eager", (*OPTIMIZERS,), marks=pytest.mark.slow)],
    ids=["some", "all"],
)
def test_shardings_are_kept_and_numbers_are_those_of_one_device(how, names):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "tests.reference.sharded_optimizers", how, *names]
    ran = subprocess.run(command, cwd=ROOT, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert report["devices"] == 8
    assert {name: found["wrong"] for name, found in report["optimizers"].items()} == {name: [] for name in names}
    assert max(found["difference"] for found in report["optimizers"].values()) < 1e-6
