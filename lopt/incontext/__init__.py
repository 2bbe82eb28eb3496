"""In-context learners: sequence models that learn in the forward pass, from the examples in their context."""

from lopt.incontext.blocks import Paired
from lopt.incontext.classifier import Classifier
from lopt.incontext.linear_attention import FastWeights, LinearAttention
from lopt.incontext.mesa_layer import MesaLayer, least_squares_attention
from lopt.incontext.one_layer import (
    AutoregressiveAttention,
    FewShotAttention,
    OneStepAttention,
    merged_attention,
    paired_tokens,
)
from lopt.incontext.recurrent import GRU, LSTM, OuterProductLSTM
from lopt.incontext.transformer import Transformer
from lopt.incontext.vsml import VSML

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
