"""lopt: discover, meta-train, test and export learning rules in JAX.

`import lopt` loads nothing; its parts load when they are first used (`lopt.objectives.LPG`).
"""

import importlib
from typing import Any

__version__ = "0.1.0"

__all__ = [
    "agents",
    "curriculum",
    "export",
    "meta",
    "nets",
    "objectives",
    "policies",
    "protocols",
    "returns",
    "tree",
    "types",
    "unroll",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"lopt.{name}")
    raise AttributeError(f"module 'lopt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
