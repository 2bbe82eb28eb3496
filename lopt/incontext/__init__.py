"""In-context learners: sequence models that learn in their forward pass, from the examples before them."""

from lopt.incontext.classifier import Classifier
from lopt.incontext.fast_weights import FastWeights
from lopt.incontext.gru import GRU
from lopt.incontext.linear_attention import LinearAttention
from lopt.incontext.lstm import LSTM
from lopt.incontext.outer_product_lstm import OuterProductLSTM
from lopt.incontext.transformer import Transformer
from lopt.incontext.vsml import VSML

__all__ = ["GRU", "LSTM", "VSML", "Classifier", "FastWeights", "LinearAttention", "OuterProductLSTM", "Transformer"]
