"""The outer loop's step: estimate, update, and give finished lifetimes something new to do."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool

from lopt import tree
from lopt.protocols import Curriculum, Estimator, Score
from lopt.types import UNTRACKED, Assignment, EstimatorMetrics, Key, MetaState, Metrics, Theta


@dataclass(frozen=True)
class MetaLearner:
    """Meta-trains theta on N lifetimes at once, each of its own length, on levels that a curriculum chooses.

    One step: the estimator advances every lifetime and gives a gradient; the optimizer moves theta; the score goes
    along; where a lifetime has ended, its score is read, the curriculum exchanges its level, and a newborn takes its
    place. That last part costs in proportion to the number of lifetimes that ended (they are packed). A lifetime that
    the estimator found not finite ends there and then, without a score.

    Attributes:
        estimator: meta-gradient or evolution strategy.
        curriculum: which levels are played.
        score: what the curriculum is told of a finished lifetime.
        optimizer: an optax transformation of theta.
        num_lifetimes: N.
        stagger: give the first lifetimes random shorter lengths, so that later ones do not all end in the same step;
            their results are not recorded.
        pack: how many finished lifetimes are renewed side by side.

    Raises:
        ValueError: `num_lifetimes` or `pack` below one.

    Paper: arXiv 2310.02782, algorithm 1.
    """

    estimator: Estimator
    curriculum: Curriculum
    score: Score
    optimizer: optax.GradientTransformation
    num_lifetimes: int
    stagger: bool = True
    pack: int = 4

    def __post_init__(self) -> None:
        for name in ("num_lifetimes", "pack"):
            if getattr(self, name) < 1:
                raise ValueError(f"MetaLearner: {name} must be at least 1 (got {getattr(self, name)})")

    def init(self, key: Key, theta: Theta) -> MetaState:
        """The state before the first step."""
        key_curriculum, key_stagger, key_births, key_scores = jax.random.split(key, 4)
        curriculum, assignment = self.curriculum.init(key_curriculum, self.num_lifetimes)
        if self.stagger:
            assignment = self._staggered(key_stagger, assignment)
        levels = assignment.levels
        keys = jax.random.split(key_scores, self.num_lifetimes)
        state = MetaState(
            theta=theta,
            opt_state=self.optimizer.init(theta),
            lifetimes=self.estimator.init(key_births, theta, levels),
            scores=jax.vmap(self.score.init)(keys, levels),
            curriculum=curriculum,
            assignment=assignment,
            step=jnp.zeros((), jnp.int32),
        )
        return tree.canonical(state)

    def step(self, key: Key, state: MetaState) -> tuple[MetaState, Metrics]:
        """One meta-step; the metrics are scalars."""
        key_estimate, key_advance, key_renew = jax.random.split(key, 3)
        levels = state.assignment.levels
        grads, lifetimes, measured = self.estimator.estimate(key_estimate, state.theta, levels, state.lifetimes)
        updates, opt_state = self.optimizer.update(grads, state.opt_state, state.theta)
        keys = jax.random.split(key_advance, self.num_lifetimes)
        moved = state.replace(
            theta=optax.apply_updates(state.theta, updates),
            opt_state=opt_state,
            lifetimes=lifetimes,
            scores=jax.vmap(self.score.advance)(keys, levels, state.scores, measured.steps),
            step=state.step + 1,
        )
        finished = (self.estimator.age(lifetimes) >= levels.lifetime) | ~measured.finite
        num = finished.sum()
        moved, scores = jax.lax.cond(
            num > 0,
            self._renew,
            lambda key, state, *_: (state, jnp.zeros(self.num_lifetimes)),
            key_renew,
            moved,
            finished,
            measured.finite,
        )
        metrics = self._summary(measured) | self.curriculum.metrics(moved.curriculum)
        scored = jnp.where(finished & jnp.isfinite(scores), scores, 0.0).sum() / jnp.maximum(num, 1)
        metrics |= {"gradient_norm": optax.tree.norm(grads), "finished": num, "finished_score": scored}
        return moved, metrics

    def _renew(self, key: Key, state: MetaState, finished: Bool[Array, " N"], finite: Bool[Array, " N"]):
        """Score the finished lifetimes (those that are finite), exchange their levels, and put newborns in their
        places."""
        key_score, key_exchange, key_births, key_scores = jax.random.split(key, 4)
        learners, levels = self.estimator.learners(state.lifetimes), state.assignment.levels
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

        def birth(key_estimator, key_score, level):
            one = jax.tree.map(lambda x: x[None], level)
            newborn = self.estimator.init(key_estimator, state.theta, one).lives
            return tree.take(newborn, 0), self.score.init(key_score, level)

        lives, score_state = tree.masked_map(
            birth,
            finished,
            (state.lifetimes.lives, state.scores),
            jax.random.split(key_births, self.num_lifetimes),
            jax.random.split(key_scores, self.num_lifetimes),
            assignment.levels,
            pack=self.pack,
        )
        lifetimes = state.lifetimes.replace(lives=lives)
        renewed = state.replace(lifetimes=lifetimes, scores=score_state, curriculum=curriculum, assignment=assignment)
        return renewed, scores

    def _staggered(self, key: Key, assignment: Assignment) -> Assignment:
        levels = assignment.levels
        part = jax.random.uniform(key, levels.lifetime.shape, minval=0.0, maxval=1.0)
        shorter = jnp.maximum(1, jnp.ceil(part * levels.lifetime).astype(levels.lifetime.dtype))
        slot = jnp.full_like(assignment.slot, UNTRACKED)
        return Assignment(levels=levels.replace(lifetime=shorter), slot=slot)

    def _summary(self, measured: EstimatorMetrics) -> Metrics:
        """Means over the lifetimes and updates where a metric was finite; of the estimator's, NaN where none was."""

        def mean(x, of_none):
            finite = jnp.isfinite(x)
            count = finite.sum()
            return jnp.where(count > 0, jnp.where(finite, x, 0.0).sum() / jnp.maximum(count, 1), of_none)

        # a meta-loss that is finite for no lifetime must stay visible
        meta = jax.tree.map(partial(mean, of_none=jnp.nan), measured.meta)
        return jax.tree.map(partial(mean, of_none=0.0), measured.steps) | meta
