"""Meta-testing: learners trained from scratch under a rule, on levels, and measured at the end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
from flax import struct

from lopt.protocols import Lifetime
from lopt.training import jit_repeated
from lopt.types import Key, Level, Metrics, Theta
from lopt.unroll import unroll


def no_records(metrics: Metrics) -> Any:
    """No metric of the updates is kept."""
    return ()


class MetaTestResult(struct.PyTreeNode):
    """Measurements of L learners, leaves `[L, ...]`.

    Attributes:
        initial: of the learners at initialisation; `()` if they were not measured.
        final: of the learners after their last update.
        records: of each update, `[L, K, ...]`.
    """

    initial: Any
    final: Any
    records: Any


@dataclass(frozen=True, eq=False, kw_only=True)
class MetaTester:
    """Trains one learner from scratch on each of L levels, and measures it.

    All rules that are tested with the same keys and levels get the same initial learners, minibatches and episodes, as
    far as they are drawn by keys: their results are paired.

    Attributes:
        lifetime: how a learner is initialised and updated.
        num_updates: K, updates; at least the longest lifetime among the levels (a finished learner stays as it is).
        measure: `(key, level, learner) -> ` a measurement, arrays of any structure.
        batch_size: levels that are trained on at the same time; None for all.
        records: from the metrics of one update to what is kept of them.
        measure_initial: whether initial learners are measured, too, with the key of the final measurement.
    """

    lifetime: Lifetime
    num_updates: int
    measure: Callable[[Key, Level, Any], Any]
    batch_size: int | None = None
    records: Callable[[Metrics], Any] = no_records
    measure_initial: bool = False

    def __post_init__(self) -> None:
        for name in ("num_updates", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"MetaTester: {name} must be at least 1 (got {value})")

    def __call__(self, keys: Key, theta: Theta, levels: Level) -> MetaTestResult:
        """The measurements for keys `[L]` and levels `[L]`; compiled at the first call for a number of levels."""
        if keys.shape != levels.num_updates.shape:
            raise ValueError(
                f"MetaTester: expected a key for each level (got {keys.shape[0]} keys and "
                f"{levels.num_updates.shape[0]} levels)"
            )
        return self._compiled(keys, theta, levels)

    @cached_property
    def _compiled(self) -> Callable[[Key, Theta, Level], MetaTestResult]:
        def test(keys: Key, theta: Theta, levels: Level) -> MetaTestResult:
            size = min(self.batch_size or keys.shape[0], keys.shape[0])
            if size == keys.shape[0]:
                return jax.vmap(self.run, (0, None, 0))(keys, theta, levels)
            return jax.lax.map(lambda xs: self.run(xs[0], theta, xs[1]), (keys, levels), batch_size=size)

        return jit_repeated(test)

    def run(self, key: Key, theta: Theta, level: Level) -> MetaTestResult:
        """One learner on one level, not compiled."""
        key_init, key_updates, key_measure = jax.random.split(key, 3)
        initial = self.lifetime.init(key_init, theta, level)

        def step(key: Key, state: Any) -> tuple[Any, Any]:
            state, info = self.lifetime.step(key, theta, level, state)
            return state, self.records(info.metrics)

        final, records = unroll(step, key_updates, initial, self.num_updates)
        return MetaTestResult(
            initial=self.measure(jax.random.clone(key_measure), level, initial) if self.measure_initial else (),
            final=self.measure(key_measure, level, final),
            records=records,
        )
