"""Names on the command line, and the objects that they stand for."""

from collections.abc import Callable
from typing import Any

import optax

from lopt import lion, optimizers, tasks
from lopt.protocols import LearnedOptimizer, Task
from lopt.tasks import ConvNet, DatasetTask, LanguageTask, Perceptron, Recurrent, Transformer


def _classification(data: Callable[[], tasks.Dataset], *hidden: int) -> Callable[[], Task]:
    def build() -> Task:
        return DatasetTask(data=data(), net=Perceptron(hidden, data().outputs), criterion=tasks.cross_entropy)

    return build


def _digits_autoencoder() -> Task:
    data = tasks.digits().autoencoding()
    return DatasetTask(data=data, net=Perceptron((16,), data.outputs), criterion=tasks.squared_error)


def _text(net: Callable[[int], Any]) -> Callable[[], Task]:
    return lambda: LanguageTask(tokens=tasks.standard_library(), net=net(tasks.VOCABULARY))


TASKS: dict[str, Callable[[], Task]] = {
    "digits": _classification(tasks.digits, 16),
    "digits_deep": _classification(tasks.digits, 32, 32, 32),
    "digits_conv": lambda: DatasetTask(data=tasks.digits(), net=ConvNet((8, 16), 10), criterion=tasks.cross_entropy),
    "digits_autoencoder": _digits_autoencoder,
    "breast_cancer": _classification(tasks.breast_cancer, 16),
    "wine": _classification(tasks.wine, 16),
    "iris": _classification(tasks.iris, 16),
    "diabetes": lambda: DatasetTask(data=tasks.diabetes(), net=Perceptron((16,), 1), criterion=tasks.squared_error),
    "text_gru": _text(lambda vocabulary: Recurrent(vocabulary, 32)),
    "text_transformer": _text(lambda vocabulary: Transformer(vocabulary, 32, 1)),
    "quadratic": lambda: tasks.Quadratic(dimensions=20, condition=100.0, noise=0.1),
    "rosenbrock": lambda: tasks.Rosenbrock(10, noise=0.1),
}
"""Tasks of meta-training and meta-testing."""

RULES: dict[str, Callable[..., LearnedOptimizer]] = {
    "adafactor_mlp": optimizers.AdafactorRule,
    "mlp": optimizers.MLPRule,
    "hierarchical": optimizers.HierarchicalRule,
    "open": optimizers.OpenRule,
    "lstm": optimizers.LSTMRule,
    "adam": optimizers.LearnableAdam,
    "sgd": optimizers.LearnableSGD,
}
SIZED = ("adafactor_mlp", "mlp", "hierarchical", "open")
"""Rules with the options `rule.step_size` and `rule.exponent`."""

ESTIMATORS = ("pes", "nres", "es", "meta_gradient")

BASELINES: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": lambda rate: optax.sgd(rate, 0.9),
    "Adam": optax.adam,
    "AdamW": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "Lion": lambda rate: lion(rate, weight_decay=1e-2),
}
"""Baselines as functions of the learning rate; SGD has momentum 0.9, AdamW and Lion a weight decay of 0.01."""
