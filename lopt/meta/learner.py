"""The meta-step: estimate the meta-gradient, update theta, replace the lifetimes that have ended."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from lopt import tree
from lopt.protocols import Curriculum, Estimator, Score
from lopt.types import UNTRACKED, Assignment, EstimatorMetrics, Key, MetaState, Metrics, Theta


@dataclass(frozen=True, eq=False)
class TrainedRule:
    """A rule and the meta-parameters that training gave it; `lopt.rules.save_rule` writes both to a file.

    In the place of a rule, to go on from: `init` returns the meta-parameters.

    Attributes:
        rule: an objective, a learned optimizer, a drift or a sequence model.
        theta: its meta-parameters.
    """

    rule: Any
    theta: Theta

    def init(self, key: Key) -> Theta:
        """The meta-parameters, whatever the key."""
        return self.theta


@dataclass(frozen=True, kw_only=True)
class MetaLearner:
    """Meta-trains theta on N parallel lifetimes of individual length, on levels that a curriculum chooses.

    One meta-step: the estimator advances every lifetime by K inner updates and returns a gradient; the optimizer
    updates theta; the scores advance by the same K updates. Where a lifetime has ended, its score is computed, the
    curriculum exchanges its level for a new one, and an initial learner replaces its learner. The cost of the
    replacement is proportional to the number of lifetimes that ended (they are packed). A lifetime with a non-finite
    loss or gradient ends at once, without a score, and is left out of every mean. If the norm of the gradient itself
    is not finite, theta and its optimizer keep their values in this step, and `frac_nonfinite` is 1.

    Attributes:
        estimator: estimator of the meta-gradient, such as `MetaGradient` or `ES`.
        curriculum: chooses the levels.
        score: computes the score of a finished lifetime that the curriculum records.
        optimizer: the meta-optimizer, an optax transformation of theta.
        num_lifetimes: N.
        stagger: give the first lifetimes random shorter lengths, so that later ones do not all end in the same step;
            their scores are not recorded.
        pack: number of finished lifetimes that are scored and replaced side by side.
        rule: what theta belongs to: its `init(key)` gives the first theta. None if theta is passed to `init`.

    Raises:
        ValueError: `num_lifetimes` or `pack` below one, or a score that reads what the lifetime does not report.

    Paper: arXiv 2310.02782, algorithm 1.
    """

    estimator: Estimator
    curriculum: Curriculum
    score: Score
    optimizer: optax.GradientTransformation
    num_lifetimes: int
    stagger: bool = True
    pack: int = 4
    rule: Any = None

    def __post_init__(self) -> None:
        for name in ("num_lifetimes", "pack"):
            if getattr(self, name) < 1:
                raise ValueError(f"MetaLearner: {name} must be at least 1 (got {getattr(self, name)})")
        required = getattr(self.score, "requires", None)
        given = getattr(self.estimator.lifetime, "score_type", None)
        if required is not None and not (given is not None and issubclass(given, required)):
            raise ValueError(
                f"MetaLearner: the score {type(self.score).__name__} reads {required.__name__} of every update, which "
                f"the lifetime does not report (got a {type(self.estimator.lifetime).__name__} with "
                f"{'nothing' if given is None else given.__name__}; ValueScores need a value baseline)"
            )

    def init(self, key: Key, theta: Theta | None = None) -> MetaState:
        """The state before the first meta-step, with N initial learners.

        Args:
            key: of everything random.
            theta: the first meta-parameters; by default those of `rule.init`.

        Raises:
            ValueError: neither a theta nor a rule.
        """
        if theta is None:
            if self.rule is None:
                raise ValueError("MetaLearner: init needs theta, or a learner with a rule (got neither)")
            key_rule, key = jax.random.split(key)
            theta = self.rule.init(key_rule)
        key_curriculum, key_stagger, key_init, key_scores = jax.random.split(key, 4)
        curriculum, assignment = self.curriculum.init(key_curriculum, self.num_lifetimes)
        if self.stagger:
            assignment = self._staggered(key_stagger, assignment)
        levels = assignment.levels
        keys = jax.random.split(key_scores, self.num_lifetimes)
        state = MetaState(
            theta=theta,
            opt_state=self.optimizer.init(theta),
            estimator_state=self.estimator.init(key_init, theta, levels),
            scores=jax.vmap(self.score.init)(keys, levels),
            curriculum=curriculum,
            assignment=assignment,
            step=jnp.zeros((), jnp.int32),
        )
        return tree.canonical(state)

    def trained(self, state: MetaState) -> TrainedRule:
        """The rule with the meta-parameters of a state."""
        return TrainedRule(self.rule.rule if isinstance(self.rule, TrainedRule) else self.rule, state.theta)

    def step(self, key: Key, state: MetaState) -> tuple[MetaState, Metrics]:
        """One meta-step: `(state, metrics)`, all metrics scalars.

        The metrics are the means of the estimator's metrics and of the updates' metrics over finite lifetimes and
        updates, those of the curriculum, `gradient_norm` (before the optimizer), `finished` (number of lifetimes that
        ended in this step) and `finished_score` (the mean of their scores; 0 if none ended).
        """
        key_estimate, key_advance, key_replace = jax.random.split(key, 3)
        levels = state.assignment.levels
        grads, estimator_state, measured = self.estimator.estimate(
            key_estimate, state.theta, levels, state.estimator_state
        )
        norm = optax.tree.norm(grads)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.theta)
        theta, opt_state = tree.where(
            jnp.isfinite(norm),
            (optax.apply_updates(state.theta, updates), opt_state),
            (state.theta, state.opt_state),
        )
        keys = jax.random.split(key_advance, self.num_lifetimes)
        updated = state.replace(
            theta=theta,
            opt_state=opt_state,
            estimator_state=estimator_state,
            scores=jax.vmap(self.score.advance)(keys, levels, state.scores, measured.steps.scores),
            step=state.step + 1,
        )
        finished = ~levels.active(self.estimator.age(estimator_state)) | ~measured.finite
        num = finished.sum()
        updated, scores = jax.lax.cond(
            num > 0,
            self._replace_finished,
            lambda key, state, *_: (state, jnp.zeros(self.num_lifetimes)),
            key_replace,
            updated,
            finished,
            measured.finite,
        )
        metrics = self._summary(measured) | self.curriculum.metrics(updated.curriculum)
        scored = jnp.where(finished & jnp.isfinite(scores), scores, 0.0).sum() / jnp.maximum(num, 1)
        metrics |= {"gradient_norm": norm, "finished": num, "finished_score": scored}
        if "frac_nonfinite" in metrics:
            metrics["frac_nonfinite"] = jnp.where(jnp.isfinite(norm), metrics["frac_nonfinite"], 1.0)
        return updated, metrics

    def _replace_finished(self, key: Key, state: MetaState, finished: Bool[Array, " N"], finite: Bool[Array, " N"]):
        """Score the finished lifetimes (those that are finite), exchange their levels, and replace their learners by
        initial ones."""
        key_score, key_exchange, key_init, key_scores = jax.random.split(key, 4)
        learners, levels = self.estimator.learners(state.estimator_state), state.assignment.levels
        scores = tree.masked_map(
            self.score.score,
            finished,
            jnp.zeros(self.num_lifetimes),
            jax.random.split(key_score, self.num_lifetimes),
            levels,
            learners,
            state.scores,
            pack=self.pack,
        )
        scores = jnp.where(finite, scores, -jnp.inf)
        curriculum, assignment = self.curriculum.exchange(
            key_exchange, state.curriculum, state.assignment, scores, finished
        )

        def initial(key_estimator, key_score, level):
            one = jax.tree.map(lambda x: x[None], level)
            learner = self.estimator.init(key_estimator, state.theta, one).per_lifetime
            return tree.take(learner, 0), self.score.init(key_score, level)

        per_lifetime, score_state = tree.masked_map(
            initial,
            finished,
            (state.estimator_state.per_lifetime, state.scores),
            jax.random.split(key_init, self.num_lifetimes),
            jax.random.split(key_scores, self.num_lifetimes),
            assignment.levels,
            pack=self.pack,
        )
        estimator_state = state.estimator_state.replace(per_lifetime=per_lifetime)
        replaced = state.replace(
            estimator_state=estimator_state, scores=score_state, curriculum=curriculum, assignment=assignment
        )
        return replaced, scores

    def _staggered(self, key: Key, assignment: Assignment) -> Assignment:
        """The same levels with lifetimes drawn uniformly from 1 to their length, untracked by the curriculum."""
        levels = assignment.levels
        fraction = jax.random.uniform(key, levels.num_updates.shape, minval=0.0, maxval=1.0)
        shorter = jnp.maximum(1, jnp.ceil(fraction * levels.num_updates).astype(levels.num_updates.dtype))
        slot = jnp.full_like(assignment.slot, UNTRACKED)
        return Assignment(levels=levels.replace(num_updates=shorter), slot=slot)

    def _summary(self, measured: EstimatorMetrics) -> Metrics:
        """Means over the finite values of the lifetimes that are finite; without any, NaN for the estimator's metrics
        and 0 for those of the updates."""

        def mean(x, default):
            included = measured.finite.reshape(-1, *(1,) * (jnp.ndim(x) - 1)) if jnp.ndim(x) else True
            finite = jnp.isfinite(x) & included
            count = finite.sum()
            return jnp.where(count > 0, jnp.where(finite, x, 0.0).sum() / jnp.maximum(count, 1), default)

        # a meta-loss that is finite for no lifetime must stay visible
        meta = jax.tree.map(partial(mean, default=jnp.nan), measured.meta)
        return jax.tree.map(partial(mean, default=0.0), measured.steps.metrics) | meta
