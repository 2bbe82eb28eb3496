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
"""The tasks of Brax 0.14. Fetch, grasp and ur5e, on which the paper of LPO also tests, were removed in Brax 0.9."""
BACKENDS = ("generalized", "mjx", "positional", "spring")
"""Physics backends of Brax: "spring" is the fastest on a CPU, "generalized" is Brax's default, "mjx" is maintained."""


@dataclass(frozen=True)
class Registered:
    """Factory of a registered Brax environment."""

    name: str

    def __call__(self, **options: Any) -> Any:
        """Construct the raw environment, without Brax's training wrappers."""
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
    """A Brax task by name; Brax is imported when the task is first used.

    Example:
        env = brax_env("reacher", action_repeat=4, max_steps=250)

    Args:
        name: one of `BRAX_TASKS`.
        backend: one of `BACKENDS`. Returns under different backends are not comparable.
        max_steps: the step limit of an episode, in actions.
        action_repeat: physics steps per action.
        **options: keyword arguments of the task's constructor.

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
