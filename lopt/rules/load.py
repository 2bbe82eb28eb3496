"""Load a rule as the object that user code needs, by the name of a shipped rule or the path of a rule file; the learned
optimizer that comes with lopt, as optax transformations.
"""

import functools
import inspect
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lopt.agents import default_lifetime
from lopt.incontext import Classifier
from lopt.meta import TrainedRule
from lopt.objectives import DiscoRule, Drift
from lopt.optimizers import AdafactorRule, NormalisedRule
from lopt.optimizers.per_parameter import check_theta
from lopt.protocols import LearnedOptimizer, Objective, SequenceModel
from lopt.rules.disco_103 import is_published, load_disco_103
from lopt.rules.loaded import LoadedDrift, LoadedObjective, LoadedOptimizer
from lopt.rules.numpy_forms import numpy_adafactor, numpy_program
from lopt.rules.parts import CLASSIFIER, PROGRAM, from_description, program_of, rebuild
from lopt.rules.registry import find
from lopt.rules.rule import Rule, load_rule
from lopt.search import from_program
from lopt.types import Theta


def load(name: str | Path, *, learning_rate: ArrayLike | optax.Schedule | None = None) -> Any:
    """The rule of that name or path with its meta-parameters, ready for code that does not depend on lopt.

        tx = optax.chain(optax.clip_by_global_norm(1.0), lopt.load("adafactor-mlp-digits"))
        tx = lopt.load("lion-search-digits", learning_rate=optax.cosine_decay_schedule(1.0, 1000))
        loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, lopt.load("lpo-cartpole"))
        loss = lopt.ppo_loss(log_prob, old_log_prob, advantage, lopt.load("ta-lpo-cartpole"), progress=progress)
        agent, returns = lopt.load("lpg-grid-a2c").train(levels, key, num_updates=50)
        probabilities = lopt.load("gpicl-digits").predict(xs, ys, query)

    What is returned depends on the rule's kind (`lopt.list_rules()` has it):

        optimizer, program    `LoadedOptimizer`, an optax transformation complete with step size and sign
        drift                 `LoadedDrift`, a function of log r, A and, if it is time-aware, the learner's `Progress`
        objective             `LoadedObjective`, with `train`, and `rule` and `theta` for a loop of one's own
        in-context learner    `lopt.incontext.Classifier`
        DiscoRL               `lopt.meta.TrainedRule`, whose rule and theta `lopt.agents.DiscoLifetime` takes; so does
                              disco_103.npz, which DiscoRL's authors publish without a card (`load_disco_103`)

    Args:
        name: the name of a shipped rule (`lopt.list_rules()`), or the path of a rule file, with or without its ending.
            A file in the current folder that is named like a shipped rule is `./name`.
        learning_rate: for a program, the value of its input lr, a number or a schedule; for a learned optimizer with a
            normalised `direction`, the size of its step. By default the program's own (1), or the rule's own.

    Raises:
        ValueError: an unknown name (near matches are listed), a file that is missing or damaged (it is named), arrays
            that do not fit the rule, or a learning rate for a rule that has none.
    """
    if is_published(name):
        return load_disco_103(name)
    path = find(name)
    try:
        return _loaded(load_rule(path), learning_rate)
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"rule {path}: {error}") from error


def _loaded(rule: Rule, learning_rate: Any) -> Any:
    if rule.card.kind == PROGRAM:
        return _program(rule, learning_rate)
    if rule.card.kind == CLASSIFIER:
        _no_rate(rule, learning_rate)
        return _classifier(rule)
    part = rebuild(rule.card)
    if isinstance(part, DiscoRule):
        _no_rate(rule, learning_rate)
        return TrainedRule(part, _checked(rule, part.init))
    if not isinstance(part, (LearnedOptimizer, Drift, Objective)):
        raise ValueError(f"a {rule.card.kind} is no rule that can be used by itself; rebuild(card) is the object")
    theta = _checked(rule, part.init)
    if isinstance(part, LearnedOptimizer):
        return _optimizer(rule, part, theta, learning_rate)
    _no_rate(rule, learning_rate)
    if isinstance(part, Drift):
        return LoadedDrift(part, theta)
    known = inspect.signature(default_lifetime).parameters
    if unknown := sorted(set(rule.card.agent) - set(known)):
        raise ValueError(f"the card's settings of agents have no {', '.join(unknown)} (there are {', '.join(known)})")
    return LoadedObjective(part, theta, rule.card.agent)


def _checked(rule: Rule, init: Any) -> Theta:
    """The meta-parameters as JAX arrays, of the structure and the shapes that `init` gives."""
    expected = jax.eval_shape(init, jax.random.key(0))
    if not jax.tree.leaves(expected) and not sum(np.size(x) for x in jax.tree.leaves(rule.theta)):
        return expected
    check_theta(rule.card.kind, rule.theta, expected)
    return jax.tree.map(jnp.asarray, rule.theta)


def _no_rate(rule: Rule, learning_rate: Any) -> None:
    if learning_rate is not None:
        raise ValueError(f"a {rule.card.kind} has no learning rate (got learning_rate={learning_rate!r})")


def _program(rule: Rule, learning_rate: Any) -> LoadedOptimizer:
    program = program_of(rule)
    rate = 1.0 if learning_rate is None else learning_rate
    transformation = from_program(program, rate)
    return LoadedOptimizer(*transformation, numpy_form=partial(numpy_program, program, rate), text=program.text())


def _optimizer(rule: Rule, part: LearnedOptimizer, theta: Theta, learning_rate: Any) -> LoadedOptimizer:
    numpy_form = partial(numpy_adafactor, part, rule.theta) if isinstance(part, AdafactorRule) else None
    if learning_rate is None:
        return LoadedOptimizer(*part.as_optax(theta), numpy_form=numpy_form)
    direction = getattr(part, "direction", None)
    if direction is None:
        raise ValueError(
            f"the steps of a {rule.card.kind} have their learned size, without a learning rate "
            f"(got learning_rate={learning_rate!r}); optax.chain(..., optax.scale(x)) or scale_by_schedule scales them"
        )
    return LoadedOptimizer(*optax.chain(direction(theta), optax.scale_by_learning_rate(learning_rate)))


def _classifier(rule: Rule) -> Classifier:
    config = rule.card.config
    model, length = from_description(config.get("model")), config.get("length")
    if isinstance(model, type) or not isinstance(model, SequenceModel) or not isinstance(length, int):
        raise ValueError(f"load: the card of an in-context learner must have its model and its length (got {config})")
    return Classifier(model=model, theta=_checked(rule, model.init), length=length)


NAME = "normalised-v1"
"""Name among the shipped rules."""


def scale_by_learned() -> optax.GradientTransformationExtraArgs:
    """The direction of the learned optimizer `normalised-v1`, for `optax.chain` with a learning rate after it.

    The rule is `lopt.optimizers.NormalisedRule`, meta-trained on nine small tasks with one seed. The direction of every
    tensor has a root mean square of one; tuned learning rates were 0.2 to 0.6 of Adam's. Its place is that of
    `optax.scale_by_adam`; `update` needs the parameters. The state is three numbers per parameter.

    It is not always the best. Against the best of seven tuned baselines with the same schedule (docs/evidence.md), its
    held-out loss was lower on digits with four networks, level with three hidden layers and with 1,000 updates; digits
    are data of meta-training. On new data it was level on breast cancer and 1 % higher on diabetes. It was not tested
    on more than 20,000 weights or on text.

    Example:
        tx = optax.chain(
            optax.clip_by_global_norm(1.0),
            lopt.scale_by_learned(),
            optax.add_decayed_weights(0.1),
            optax.scale_by_learning_rate(optax.cosine_decay_schedule(1e-2, num_updates)),
        )
    """
    rule, theta = _rule()
    return rule.direction(theta)


def learned(
    learning_rate: ArrayLike | optax.Schedule,
    weight_decay: ArrayLike | optax.Schedule = 0.0,
    mask: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """The learned optimizer `normalised-v1`: x <- x - learning_rate (direction + weight_decay x).

    Example:
        tx = lopt.learned(optax.cosine_decay_schedule(1e-2, num_updates), weight_decay=0.1)

    Args:
        learning_rate: root mean square of the step of every tensor; a number, an array or a schedule. The rule was
            meta-trained with schedules that mostly decay to zero.
        weight_decay: decoupled, multiplied by the learning rate; likewise.
        mask: which leaves decay: a tree of booleans, a prefix of one, or a function from parameters to it.

    Raises:
        ValueError: a learning rate that is not positive, a negative weight decay, and those of another type.
    """
    rule, theta = _rule()
    return rule.optimizer(theta, learning_rate, weight_decay, mask)


@functools.cache
def _rule() -> tuple[NormalisedRule, Theta]:
    """The rule and its meta-parameters, read once."""
    loaded = load_rule(find(NAME))
    part = rebuild(loaded.card)
    if not isinstance(part, NormalisedRule):
        raise ValueError(f"learned: {NAME} must be a NormalisedRule (got {loaded.card.kind})")
    return part, loaded.theta
