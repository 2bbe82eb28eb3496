"""Load a rule file as the object that user code needs: an optax transformation, a drift or a classifier."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from lopt.export.disco_103 import is_published, load_disco_103
from lopt.export.parts import PROGRAM, from_description, load_program, rebuild
from lopt.export.rule import load_rule
from lopt.incontext import Classifier
from lopt.meta import TrainedRule
from lopt.objectives import DiscoRule, Drift, bind_drift
from lopt.protocols import LearnedOptimizer, SequenceModel
from lopt.search import from_program
from lopt.types import Theta

CLASSIFIER = "lopt.incontext.Classifier"


def load(path: str | Path) -> Any:
    """The rule of a file with its meta-parameters bound, ready for code that does not depend on lopt.

        tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.load("runs/learned_optimizer/rule"))
        loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, lopt.load("runs/lpo/rule"))

    A learned optimizer becomes an optax transformation. So does a searched program, with the learning rate that its
    text has (`from_program(load_program(path), schedule)` gives it a schedule). A drift becomes a function of log r and
    A, and of the learner's progress, which only a drift that depends on time needs (`bind_drift`):

        progress = Progress(step=update, num_updates=num_updates)
        loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, lopt.load("runs/ta_lpo/rule"), progress=progress)

    An in-context learner, whose card holds the sequence model and the length it was trained for, becomes a
    `Classifier`:

        probabilities = lopt.load("runs/gpicl/rule").predict(xs, ys, query)

    DiscoRL's rule becomes a `TrainedRule`, whose parts `DiscoLifetime` takes. So does the file of weights that its
    authors publish, disco_103.npz, which has no card (`load_disco_103`):

        disco = lopt.load("disco_103.npz")
        lifetime = lopt.agents.DiscoLifetime(env=env, rule=disco.rule, ...)  # theta of its steps is disco.theta

    Another objective that needs an agent of lopt, such as LPG, has no such form: `rebuild(load_rule(path).card)` is the
    objective and `load_rule(path).theta` its meta-parameters.

    Args:
        path: the rule file, with or without its ending.

    Raises:
        ValueError: a file that is missing or damaged, or a rule that can only be used through an agent.
    """
    if is_published(path):
        return load_disco_103(path)
    rule = load_rule(path)
    if rule.card.kind == PROGRAM:
        return from_program(load_program(path))
    theta = jax.tree.map(jnp.asarray, rule.theta)
    if rule.card.kind == CLASSIFIER:
        return _classifier(theta, rule.card.config)
    part = rebuild(rule.card)
    if isinstance(part, DiscoRule):
        part.check_theta(theta)
        return TrainedRule(part, theta)
    if isinstance(part, LearnedOptimizer):
        return part.as_optax(theta)
    if isinstance(part, Drift):
        return bind_drift(part, theta)
    raise ValueError(
        f"load: a {rule.card.kind} is used through an agent; rebuild(load_rule(path).card) is the object and "
        "load_rule(path).theta its meta-parameters"
    )


def _classifier(theta: Theta, config: dict[str, Any]) -> Classifier:
    model, length = from_description(config.get("model")), config.get("length")
    if isinstance(model, type) or not isinstance(model, SequenceModel) or not isinstance(length, int):
        raise ValueError(f"load: the card of an in-context learner must have its model and its length (got {config})")
    return Classifier(model=model, theta=theta, length=length)
