"""In-context learners: sequence models that learn in the forward pass, from the examples in their context."""

from lopt.incontext.classifier import Classifier
from lopt.incontext.models.linear_attention import FastWeights, LinearAttention
from lopt.incontext.models.paired import Paired
from lopt.incontext.models.recurrent import GRU, LSTM, OuterProductLSTM
from lopt.incontext.models.transformer import Transformer
from lopt.incontext.models.vsml import VSML
from lopt.incontext.theory.autoregression import AutoregressiveAttention
from lopt.incontext.theory.mesa_layer import MesaLayer, least_squares_attention
from lopt.incontext.theory.one_layer import FewShotAttention, OneStepAttention, merged_attention, paired_tokens

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
