"""What can be chosen by name on the command line."""

from collections.abc import Callable
from typing import Any

import optax

from lopt import lion, optimizers, tasks
from lopt.protocols import LearnedOptimizer, Task
from lopt.tasks import ConvNet, DatasetTask, LanguageTask, Perceptron, Recurrent, Transformer


def _classes(data: Callable[[], tasks.Dataset], *hidden: int) -> Callable[[], Task]:
    def build() -> Task:
        return DatasetTask(data(), Perceptron(hidden, data().outputs), tasks.cross_entropy)

    return build


def _digits_autoencoder() -> Task:
    data = tasks.digits().autoencoding()
    return DatasetTask(data, Perceptron((16,), data.outputs), tasks.squared_error)


def _text(net: Callable[[int], Any]) -> Callable[[], Task]:
    return lambda: LanguageTask(tasks.standard_library(), net(tasks.VOCABULARY))


TASKS: dict[str, Callable[[], Task]] = {
    "digits": _classes(tasks.digits, 16),
    "digits_deep": _classes(tasks.digits, 32, 32, 32),
    "digits_conv": lambda: DatasetTask(tasks.digits(), ConvNet((8, 16), 10), tasks.cross_entropy),
    "digits_autoencoder": _digits_autoencoder,
    "breast_cancer": _classes(tasks.breast_cancer, 16),
    "wine": _classes(tasks.wine, 16),
    "iris": _classes(tasks.iris, 16),
    "diabetes": lambda: DatasetTask(tasks.diabetes(), Perceptron((16,), 1), tasks.squared_error),
    "text_gru": _text(lambda vocabulary: Recurrent(vocabulary, 32)),
    "text_transformer": _text(lambda vocabulary: Transformer(vocabulary, 32, 1)),
    "quadratic": lambda: tasks.Quadratic(20, condition=100.0, noise=0.1),
    "rosenbrock": lambda: tasks.Rosenbrock(10, noise=0.1),
}
"""What an optimizer can be trained or measured on."""

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
"""Rules with a step size and an exponent."""

ESTIMATORS = ("pes", "nres", "es", "meta_gradient")

BASELINES: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "SGD": lambda rate: optax.sgd(rate, 0.9),
    "Adam": optax.adam,
    "AdamW": lambda rate: optax.adamw(rate, weight_decay=1e-2),
    "Lion": lambda rate: lion(rate, weight_decay=1e-2),
}
"""Hand-made optimizers by their learning rate; SGD has momentum 0.9, the last two a decay of 0.01."""
