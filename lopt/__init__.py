"""lopt: discover, meta-train, test and export learning rules in JAX.

`import lopt` loads nothing; its parts load when they are first used (`lopt.objectives.LPG`, `lopt.lion`).
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_FROM = {
    "A2C": "objectives",
    "LPG": "objectives",
    "PPO": "objectives",
    "bind_drift": "objectives",
    "cautious": "optimizers",
    "clip_drift": "objectives",
    "dpo_drift": "objectives",
    "fit": "training",
    "from_program": "search",
    "groove": "recipes",
    "kkt_gap": "optimizers",
    "learned": "rules",
    "lion": "optimizers",
    "lion_k": "optimizers",
    "list_rules": "rules",
    "load": "rules",
    "lpg": "recipes",
    "meta_test": "evaluation",
    "muon": "optimizers",
    "ppo_loss": "objectives",
    "scale_by_learned": "rules",
    "scale_by_lion": "optimizers",
    "scale_by_lion_k": "optimizers",
}
"""Where the names that are no modules come from."""

__all__ = [
    "A2C",
    "LPG",
    "PPO",
    "agents",
    "bind_drift",
    "cautious",
    "clip_drift",
    "curriculum",
    "dpo_drift",
    "evaluation",
    "fit",
    "from_program",
    "groove",
    "incontext",
    "kkt_gap",
    "learned",
    "lion",
    "lion_k",
    "list_rules",
    "load",
    "lpg",
    "meta",
    "meta_test",
    "muon",
    "nets",
    "objectives",
    "optimizers",
    "policies",
    "ppo_loss",
    "protocols",
    "recipes",
    "returns",
    "rules",
    "scale_by_learned",
    "scale_by_lion",
    "scale_by_lion_k",
    "search",
    "tasks",
    "training",
    "tree",
    "types",
    "unroll",
]


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(importlib.import_module(f"lopt.{_FROM[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"lopt.{name}")
    raise AttributeError(f"module 'lopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
