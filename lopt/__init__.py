"""lopt: discover, meta-train, test and export learning rules in JAX.

`import lopt` loads nothing; its parts load when they are first used (`lopt.objectives.LPG`, `lopt.lion`).
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "agents",
    "cautious",
    "curriculum",
    "export",
    "kkt_gap",
    "lion",
    "lion_k",
    "meta",
    "nets",
    "objectives",
    "optimizers",
    "policies",
    "protocols",
    "returns",
    "scale_by_lion",
    "scale_by_lion_k",
    "tasks",
    "tree",
    "types",
    "unroll",
]

_OPTIMIZERS = ("cautious", "kkt_gap", "lion", "lion_k", "scale_by_lion", "scale_by_lion_k")


def __getattr__(name: str) -> Any:
    if name in _OPTIMIZERS:
        return getattr(importlib.import_module("lopt.optimizers"), name)
    if name in __all__:
        return importlib.import_module(f"lopt.{name}")
    raise AttributeError(f"module 'lopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
