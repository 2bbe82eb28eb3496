"""From a rule file to something that can be used."""

from pathlib import Path
from typing import Any

from lopt.export.rule import Rule, load_rule

KINDS = "lopt.incontext."


def load(path: str | Path) -> Any:
    """The in-context learner of a rule file, ready to predict.

        learner = lopt.load("runs/gpicl/rule")
        probabilities = learner.predict(xs, ys, query)

    The card's kind names a class of `lopt.incontext`, its config the sequence model and how it was trained.

    Raises:
        ValueError: a rule file that is missing or damaged (see `load_rule`), of another kind, or with a config that its
            kind does not take.
    """
    rule = load_rule(path)
    kind = rule.card.kind
    if not kind.startswith(KINDS):
        raise ValueError(
            f"load: {path} holds a {kind}, which is no in-context learner; read it by lopt.export.load_rule(path) and "
            "give its theta to an object of that class"
        )
    return _built(path, rule)


def _built(path: str | Path, rule: Rule) -> Any:
    import jax
    import jax.numpy as jnp

    from lopt import incontext

    config = dict(rule.card.config)
    name, model, sizes = rule.card.kind.removeprefix(KINDS), config.pop("model", ""), config.pop("sizes", {})
    for wanted in (name, model):
        if wanted not in incontext.__all__:
            raise ValueError(f"load: {path} needs lopt.incontext.{wanted}, which this lopt does not have; upgrade lopt")
    try:
        built = getattr(incontext, model)(**sizes)
        return getattr(incontext, name)(built, jax.tree.map(jnp.asarray, rule.theta), **config)
    except TypeError as error:
        raise ValueError(f"load: the card of {path} does not fit {rule.card.kind} ({error}); upgrade lopt") from error
