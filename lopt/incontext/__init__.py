"""In-context learners: sequence models that learn in the forward pass, from the examples in their context."""

from lopt.incontext.attention import FastWeights, LinearAttention, Transformer
from lopt.incontext.blocks import Paired
from lopt.incontext.classifier import Classifier
from lopt.incontext.one_layer import (
    AutoregressiveAttention,
    FewShotAttention,
    MesaLayer,
    OneStepAttention,
    least_squares_attention,
    merged_attention,
    paired_tokens,
)
from lopt.incontext.recurrent import GRU, LSTM, VSML, OuterProductLSTM

__all__ = [
    "GRU",
    "LSTM",
    "VSML",
    "AutoregressiveAttention",
    "Classifier",
    "FastWeights",
    "FewShotAttention",
    "LinearAttention",
    "MesaLayer",
    "OneStepAttention",
    "OuterProductLSTM",
    "Paired",
    "Transformer",
    "least_squares_attention",
    "merged_attention",
    "paired_tokens",
]
