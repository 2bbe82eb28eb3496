"""The library works where packages that only a study, an environment or a data set needs are missing."""

import subprocess
import sys

import pytest

BLOCKED = ("brax", "evosax", "gymnax", "matplotlib", "sklearn", "tensorboardX", "tyro", "wandb")
PREAMBLE = f"""
import sys


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Missing())
"""
USES = {
    "lion": """
import jax.numpy as jnp, optax, lopt
tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.lion(1e-3))
params = {"w": jnp.ones(3)}
updates, _ = tx.update(params, tx.init(params), params)
assert abs(float(updates["w"][0]) + 1e-3) < 1e-5
""",
    "every part of the library": """
import importlib, lopt
for name in lopt.__all__:
    getattr(lopt, name)
""",
    "grid worlds": """
import jax
from envs.gridworld import All
jax.vmap(All())(jax.random.split(jax.random.key(0), 2))
""",
    "fit": """
import jax, lopt


class Count:
    def init(self, key):
        return jax.numpy.zeros(())

    def step(self, key, state):
        return state + 1, {"count": state}


assert float(lopt.fit(Count(), jax.random.key(0), 4).state) == 4
""",
}


@pytest.mark.parametrize("code", USES.values(), ids=USES)
def test_it_works_without_them(code):
    ran = subprocess.run([sys.executable, "-c", PREAMBLE + code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
