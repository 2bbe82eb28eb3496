"""Data sets and sequence models by their names on the command line."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import numpy as np

from experiments.cli.command_line import choose, instantiate
from lopt import incontext, tasks
from lopt.protocols import SequenceModel
from lopt.tasks import Dataset, Examples

if TYPE_CHECKING:
    from experiments.incontext.gpicl.config import ModelConfig


def random_items(number: int = 20) -> Dataset:
    """Gaussian noise inputs `[64]` with random labels: only repeated examples can be classified, by recognition."""
    rng = np.random.default_rng(0)
    items = Examples(rng.normal(size=(number, 64)).astype(np.float32), rng.integers(0, 10, number, np.int32))
    return Dataset(items, items, 10)


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": tasks.digits,
    "digits_0_to_4": lambda: tasks.digits().select_classes(*range(5)),
    "digits_5_to_9": lambda: tasks.digits().select_classes(*range(5, 10)),
    "letters": tasks.letters,
    "wine": tasks.wine,
    "breast_cancer": tasks.breast_cancer,
    "iris": tasks.iris,
    "random": random_items,
}
FILES: dict[str, Callable[[str], Dataset]] = {"idx": tasks.idx_images, "npz": tasks.load_npz}
"""Readers of data files by their prefix, as in `idx:FOLDER`."""
REPEATED = ("random",)
"""Data sets whose sequences are drawn with replacement."""


def dataset(name: str) -> Dataset:
    """A data set by its name, or from files: `idx:FOLDER` (the four files of MNIST) or `npz:FILE`.

    Raises:
        ValueError: the name is unknown, or a file is missing or damaged.
    """
    kind, colon, path = name.partition(":")
    return choose("kind of files", kind, FILES)(path) if colon else choose("data set", name, DATASETS)()


def _blocks(kind: type) -> Callable[["ModelConfig", dict[str, int], int], SequenceModel]:
    def build(config: "ModelConfig", sizes: dict[str, int], length: int) -> SequenceModel:
        positions = {"positions": length} if kind is incontext.Transformer else {}
        return kind(
            **sizes,
            **positions,
            width=config.width,
            layers=config.layers,
            heads=config.heads,
            key_size=config.key_size or None,
            expansion=config.expansion,
        )

    return build


def _recurrent(kind: type) -> Callable[["ModelConfig", dict[str, int], int], SequenceModel]:
    return lambda config, sizes, length: kind(**sizes, width=config.width, layers=config.layers)


MODELS: dict[str, Callable[["ModelConfig", dict[str, int], int], SequenceModel]] = {
    "transformer": _blocks(incontext.Transformer),
    "linear_attention": _blocks(incontext.LinearAttention),
    "fast_weights": _blocks(incontext.FastWeights),
    "lstm": _recurrent(incontext.LSTM),
    "gru": _recurrent(incontext.GRU),
    "outer_product_lstm": _recurrent(incontext.OuterProductLSTM),
    "vsml": lambda config, sizes, length: incontext.VSML(**sizes),
}
"""Constructors of the models, from the options, the widths `inputs`, `targets` and `outputs`, and the length."""


def make_model(config: "ModelConfig", sizes: dict[str, int], length: int) -> SequenceModel:
    """The sequence model of the options, for these widths of `inputs`, `targets` and `outputs`.

    Raises:
        ValueError: an unknown name, a path that cannot be imported, or something else than a sequence model.
    """
    if config.name in MODELS:
        return MODELS[config.name](config, sizes, length)
    model = instantiate(choose("model", config.name, MODELS, extensible=True), **sizes)
    if not isinstance(model, SequenceModel):
        raise ValueError(
            f"model: {config.name} is no sequence model (got {model!r}; one has init, apply and state_size, as "
            "lopt.protocols.SequenceModel says)"
        )
    return model


def check_outputs(name: str, model: SequenceModel, sizes: dict[str, int], length: int) -> None:
    """Trace the model on one sequence, and check the shape of its outputs.

    Raises:
        ValueError: another shape than `[length, outputs]`.
    """
    theta = jax.eval_shape(model.init, jax.random.key(0))
    xs, ys_prev = (jax.ShapeDtypeStruct((length, sizes[part]), np.float32) for part in ("inputs", "targets"))
    got, expected = jax.eval_shape(model.apply, theta, xs, ys_prev).shape, (length, sizes["outputs"])
    if got != expected:
        raise ValueError(f"{name} does not fulfil its contract: its outputs have the shape {got}, not {expected}")
