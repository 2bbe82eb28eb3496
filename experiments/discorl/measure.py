"""Meta-testing: agents trained from scratch under a rule, and the uniformly random policy."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.agents.meta_test import MetaTestResult, meta_tester
from experiments.discorl.build import Study, tested
from experiments.discorl.config import DiscoStudyConfig
from lopt.agents import MeanReturn
from lopt.evaluation import random_returns
from lopt.training import Logger, jit_once
from lopt.types import Key, Level, MetaState, Theta

VALIDATION, TABLE, RANDOM = (20_251_022 + i for i in range(3))
"""Seeds of the agents of the validation curve, of the final table, and of the random policy's episodes."""


class Tester:
    """Trains agents from scratch under a rule and measures them; compiled once for a number of agents."""

    def __init__(self, config: DiscoStudyConfig, study: Study):
        self.config, self.study = config, study
        lifetime = tested(config, study)
        evaluate = MeanReturn(
            env=lifetime.env,
            policy=lifetime.agent.act,
            num_episodes=config.eval.episodes,
            max_steps=study.max_steps,
        )
        self._test = meta_tester(self.levels, config.eval.num_updates, lifetime, evaluate)

    def __call__(self, theta: Theta, seed: int, number: int) -> MetaTestResult:
        """Returns of `number` agents, which depend on `seed` and theta alone."""
        return self._test(jax.random.split(jax.random.key(seed), number), theta)

    def levels(self, key: Key) -> Level:
        """A level, with a lifetime of the length of the meta-test."""
        return self.study.levels(key).replace(num_updates=jnp.asarray(self.config.eval.num_updates, jnp.int32))

    def random(self) -> float:
        """Mean return of the uniformly random policy over the levels of the final table, 256 episodes on each."""
        number = self.config.eval.seeds
        # the levels that `meta_tester` draws for these seeds
        keys = jax.random.split(jax.random.key(TABLE), number)
        levels = jit_once(jax.vmap(self.levels))(jax.vmap(jax.random.split)(keys)[:, 0])
        returns = random_returns(jax.random.key(RANDOM), self.study.lifetime.env, levels, 256, self.study.max_steps)
        return float(returns.mean())


class Validation:
    """Hook that trains agents of fixed seeds under the current rule."""

    def __init__(self, tester: Tester):
        self.tester = tester

    def __call__(self, key: Key, step: int, state: MetaState, logger: Logger) -> None:
        """Log the mean return after the last update, and the mean over the lifetime."""
        theta = jax.tree.map(np.asarray, state.theta)
        result = self.tester(theta, VALIDATION, self.tester.config.eval.validation_seeds)
        final, whole = float(result.final.mean()), float(result.lifetime_return.mean())
        logger.log(step, {"validation/final": final, "validation/lifetime": whole})
        logger.message(f"meta-step {step}: new agents under the rule, final return {final:.3f}, lifetime {whole:.3f}")
