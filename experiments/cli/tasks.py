"""Supervised tasks by their names on the command line, and the seeds of the models that are trained on them."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
from jax import Array

from experiments.cli.command_line import choose, instantiate
from lopt import tasks
from lopt.protocols import Task
from lopt.tasks import ConvNet, DatasetTask, LanguageTask, Perceptron, Recurrent, Transformer

CURVE, TUNING, TABLE = 1, 2, 3
"""Seeds of the models of the validation curve, of the tuning, and of the final table."""


def _classification(
    data: Callable[[], tasks.Dataset], *hidden: int, activation: Callable[[Array], Array] = nn.relu
) -> Callable[[], Task]:
    def build() -> Task:
        net = Perceptron(hidden, data().outputs, activation)
        return DatasetTask(data=data(), net=net, criterion=tasks.cross_entropy)

    return build


def _autoencoder(data: Callable[[], tasks.Dataset], width: int) -> Callable[[], Task]:
    def build() -> Task:
        autoencoding = data().autoencoding()
        net = Perceptron((width,), autoencoding.outputs)
        return DatasetTask(data=autoencoding, net=net, criterion=tasks.squared_error)

    return build


def _text(net: Callable[[int], Any]) -> Callable[[], Task]:
    return lambda: LanguageTask(tokens=tasks.standard_library(), net=net(tasks.VOCABULARY))


TASKS: dict[str, Callable[[], Task]] = {
    "digits": _classification(tasks.digits, 16),
    "digits_deep": _classification(tasks.digits, 32, 32, 32),
    "digits_conv": lambda: DatasetTask(data=tasks.digits(), net=ConvNet((8, 16), 10), criterion=tasks.cross_entropy),
    "digits_tanh": _classification(tasks.digits, 32, activation=nn.tanh),
    "digits_gelu": _classification(tasks.digits, 16, 16, activation=nn.gelu),
    "digits_64": _classification(tasks.digits, 64),
    "digits_256": _classification(tasks.digits, 256),
    "digits_autoencoder": _autoencoder(tasks.digits, 16),
    "letters": _classification(tasks.letters, 16),
    "letters_deep": _classification(tasks.letters, 32, 16),
    "letters_autoencoder": _autoencoder(tasks.letters, 12),
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


def make_task(name: str) -> Task:
    """The task of a name, or of an import path: an object, or a class or function without arguments.

    Raises:
        ValueError: an unknown name, or a path that cannot be imported.
    """
    found: Any = choose("task", name, TASKS, extensible=True)
    return found() if name in TASKS else instantiate(found)
