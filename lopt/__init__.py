"""lopt: discover, meta-train, test and export learning rules in JAX.

`import lopt` loads nothing; its parts load when they are first used (`lopt.objectives.LPG`, `lopt.ppo_loss`).
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "agents",
    "bind_drift",
    "clip_drift",
    "curriculum",
    "dpo_drift",
    "export",
    "meta",
    "nets",
    "objectives",
    "policies",
    "ppo_loss",
    "protocols",
    "returns",
    "tree",
    "types",
    "unroll",
]

_OBJECTIVES = ("bind_drift", "clip_drift", "dpo_drift", "ppo_loss")


def __getattr__(name: str) -> Any:
    if name in _OBJECTIVES:
        return getattr(importlib.import_module("lopt.objectives"), name)
    if name in __all__:
        return importlib.import_module(f"lopt.{name}")
    raise AttributeError(f"module 'lopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
