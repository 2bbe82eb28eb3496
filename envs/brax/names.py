"""Brax tasks by name."""

import importlib.util
from dataclasses import dataclass
from typing import Any

from envs.brax.task import Brax
from envs.names import unknown_name

BRAX_TASKS = (
    "ant",
    "halfcheetah",
    "hopper",
    "humanoid",
    "humanoidstandup",
    "inverted_double_pendulum",
    "inverted_pendulum",
    "pusher",
    "reacher",
    "swimmer",
    "walker2d",
)
"""The tasks of Brax 0.14. Fetch, grasp and ur5e, on which LPO was also tested, left Brax with version 0.9."""
BACKENDS = ("generalized", "mjx", "positional", "spring")
"""Brax's physics: "spring" is the fastest on a CPU, "generalized" Brax's own default, "mjx" the maintained one."""


@dataclass(frozen=True)
class Registered:
    """The factory of a name in Brax's registry."""

    name: str

    def __call__(self, **options: Any) -> Any:
        """The raw environment."""
        from brax import envs

        return envs.get_environment(self.name, **options)


def brax_env(
    name: str,
    *,
    backend: str = "spring",
    max_steps: int = 1000,
    action_repeat: int = 1,
    **options: Any,
) -> Brax:
    """The Brax task of a name; Brax itself, slow to import, is loaded when the task is first used.

    Example:
        env = brax_env("reacher", action_repeat=4, max_steps=250)

    Args:
        name: one of `BRAX_TASKS`.
        backend: one of `BACKENDS`. Returns under different backends do not compare.
        max_steps: the step limit, in actions.
        action_repeat: physics steps per action.
        **options: of the task's constructor.

    Raises:
        ValueError: an unknown name or backend (with near matches).
        ImportError: Brax is not installed.
    """
    if name not in BRAX_TASKS:
        raise unknown_name("Brax task", name, BRAX_TASKS)
    if backend not in BACKENDS:
        raise unknown_name("Brax backend", backend, BACKENDS)
    if importlib.util.find_spec("brax") is None:
        raise ImportError('Brax tasks need the optional extra: pip install "lopt[brax]"')
    return Brax(
        factory=Registered(name),
        options=tuple(sorted({"backend": backend, **options}.items())),
        max_steps=max_steps,
        action_repeat=action_repeat,
    )
