"""Functions that put the parts of lopt together as papers do; what they return can be taken apart and changed.

LPG and GROOVE: an objective meta-trained by meta-gradients, on random levels or on levels of high regret.
"""

from collections.abc import Callable
from typing import Any

import optax

from lopt.agents import MeanReturn, RLLifetime, default_lifetime, longest_episode
from lopt.curriculum import AlgorithmicRegret, DomainRandomisation, Replay, Uniform
from lopt.meta import MetaGradient, MetaLearner
from lopt.objectives import A2C, LPG, LPGRegulariser
from lopt.types import Key, Level


def groove(
    levels: Callable[[Key], Level],
    rule: Any = None,
    *,
    num_lifetimes: int = 32,
    num_updates: int = 5,
    optimizer: optax.GradientTransformation | None = None,
    lifetime: RLLifetime | None = None,
    antagonist: RLLifetime | None = None,
    buffer: int = 500,
    num_episodes: int = 16,
) -> MetaLearner:
    """GROOVE: meta-gradients on levels that are replayed in proportion to their algorithmic regret.

    The parts of the result are its fields: `estimator` (with `lifetime`), `curriculum`, `score` (with `antagonist`) and
    `optimizer`; `dataclasses.replace` exchanges any of them.

    Example:
        learner = lopt.groove(envs.gridworld.All(), lopt.LPG(hidden=32))
        result = lopt.fit(learner, jax.random.key(0), 800, out="runs/groove")

    Args:
        levels: a distribution of levels, with its `environment`.
        rule: the objective that is meta-trained, or a `TrainedRule` to go on from; by default `LPG(hidden=32)`.
        num_lifetimes: N, lifetimes trained in parallel.
        num_updates: K, inner updates per meta-step.
        optimizer: of the meta-parameters; by default Adam at 1e-3 with its gradient's norm clipped to 1.
        lifetime: how agents are trained; by default `lopt.agents.default_lifetime`.
        antagonist: the lifetime of the agents that regret compares with; by default A2C's with the same agent.
        buffer: levels that are kept for replay, at least 2 N.
        num_episodes: episodes that measure a return for the regret.

    Raises:
        ValueError: levels without an environment or a longest episode, or sizes out of range.

    Paper: arXiv 2310.02782.
    """
    rule = LPG(hidden=32) if rule is None else rule
    lifetime = _lifetime(levels, rule) if lifetime is None else lifetime
    antagonist = default_lifetime(levels, A2C(), num_envs=lifetime.num_envs) if antagonist is None else antagonist
    max_steps = longest_episode(levels)
    regret = AlgorithmicRegret(
        antagonist=antagonist,
        num_updates=num_updates,
        evaluate=MeanReturn(
            env=lifetime.env, policy=lifetime.agent.act, num_episodes=num_episodes, max_steps=max_steps
        ),
        evaluate_antagonist=MeanReturn(
            env=antagonist.env, policy=antagonist.agent.act, num_episodes=num_episodes, max_steps=max_steps
        ),
    )
    replay = Replay(generator=levels, capacity=buffer)
    return _learner(rule, lifetime, replay, regret, num_lifetimes, num_updates, optimizer)


def lpg(
    levels: Callable[[Key], Level],
    rule: Any = None,
    *,
    num_lifetimes: int = 32,
    num_updates: int = 5,
    optimizer: optax.GradientTransformation | None = None,
    lifetime: RLLifetime | None = None,
) -> MetaLearner:
    """LPG: meta-gradients on levels drawn anew for every lifetime. Arguments and result as of `groove`.

    Paper: arXiv 2007.08794.
    """
    rule = LPG(hidden=32) if rule is None else rule
    lifetime = _lifetime(levels, rule) if lifetime is None else lifetime
    return _learner(rule, lifetime, DomainRandomisation(levels), Uniform(), num_lifetimes, num_updates, optimizer)


def _lifetime(levels: Callable[[Key], Level], rule: Any) -> RLLifetime:
    options: dict[str, Any] = {"baseline_rate": 4.0, "regulariser": LPGRegulariser()}
    own = getattr(rule, "lifetime", None)  # of a rule that lopt.load returned, with the settings of its card
    return default_lifetime(levels, getattr(rule, "rule", rule), **options) if own is None else own(levels, **options)


def _learner(
    rule: Any,
    lifetime: RLLifetime,
    curriculum: Any,
    score: Any,
    num_lifetimes: int,
    num_updates: int,
    optimizer: optax.GradientTransformation | None,
) -> MetaLearner:
    return MetaLearner(
        estimator=MetaGradient(lifetime=lifetime, num_updates=num_updates),
        curriculum=curriculum,
        score=score,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3)) if optimizer is None else optimizer,
        num_lifetimes=num_lifetimes,
        rule=rule,
    )
