"""Meta-training with the lifetimes sharded over eight devices gives the numbers of one device."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("lifetimes", ["bandits", "contexts", pytest.param("agents", marks=pytest.mark.slow)])
def test_eight_devices_give_the_results_of_one(lifetimes):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    command = [sys.executable, "-m", "tests.reference.eight_devices", lifetimes]
    process = subprocess.run(command, cwd=ROOT, env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["devices"] == report["lifetimes on"] == 8
    assert report["finished"] > 8 and report["moved"] > 0.005
    assert report["state"] < 1e-5 and report["metrics"] < 1e-5
