"""Supervised tasks for meta-training optimizers, tasks for in-context learning, their lifetimes, and data sets."""

from lopt.tasks.bayes import Prediction, PriorPredictor, predict_from_pool
from lopt.tasks.bundled import breast_cancer, diabetes, digits, iris, wine
from lopt.tasks.closed_form import ClosedFormLoss, closed_form_loss
from lopt.tasks.dataset import Dataset, Examples, split
from lopt.tasks.diagonal_unitary import DiagonalUnitaryAR
from lopt.tasks.files import idx_images, image_dataset, load_idx, load_npz
from lopt.tasks.functions import Quadratic, QuadraticParams, Rosenbrock
from lopt.tasks.in_context import InContextLearnerState, InContextLifetime, SequenceLevels
from lopt.tasks.in_context_baselines import averaging, gradient_descent, least_squares, ridge
from lopt.tasks.initial import ConstantInitial, GaussianInitial, InitialDistribution, SignInitial, SparseInitial
from lopt.tasks.language import VOCABULARY, LanguageTask, encode, standard_library
from lopt.tasks.letters import letters
from lopt.tasks.lifetime import PowerLossWeight, SupervisedLearnerState, SupervisedLifetime, uniform_loss_weight
from lopt.tasks.linear_system import LinearSystem
from lopt.tasks.networks import ConvNet, Perceptron, Recurrent, Transformer, apply_with_dormancy
from lopt.tasks.one_step import OneStep
from lopt.tasks.projected import ProjectedClassification, Projection, sample_without_replacement
from lopt.tasks.regression import (
    Criterion,
    GaussianInputs,
    Inputs,
    LinearFunction,
    LinearRegression,
    UniformInputs,
    gaussian_losses,
    mean_and_std,
    squared_errors,
)
from lopt.tasks.rescaled import Rescaled, RescaledVariation
from lopt.tasks.supervised import DatasetTask, Loss, cross_entropy, squared_error
from lopt.tasks.variation import Variation, Variations

__all__ = [
    "VOCABULARY",
    "ClosedFormLoss",
    "ConstantInitial",
    "ConvNet",
    "Criterion",
    "Dataset",
    "DatasetTask",
    "DiagonalUnitaryAR",
    "Examples",
    "GaussianInitial",
    "GaussianInputs",
    "InContextLearnerState",
    "InContextLifetime",
    "InitialDistribution",
    "Inputs",
    "LanguageTask",
    "LinearFunction",
    "LinearRegression",
    "LinearSystem",
    "Loss",
    "OneStep",
    "Perceptron",
    "PowerLossWeight",
    "Prediction",
    "PriorPredictor",
    "ProjectedClassification",
    "Projection",
    "Quadratic",
    "QuadraticParams",
    "Recurrent",
    "Rescaled",
    "RescaledVariation",
    "Rosenbrock",
    "SequenceLevels",
    "SignInitial",
    "SparseInitial",
    "SupervisedLearnerState",
    "SupervisedLifetime",
    "Transformer",
    "UniformInputs",
    "Variation",
    "Variations",
    "apply_with_dormancy",
    "averaging",
    "breast_cancer",
    "closed_form_loss",
    "cross_entropy",
    "diabetes",
    "digits",
    "encode",
    "gaussian_losses",
    "gradient_descent",
    "idx_images",
    "image_dataset",
    "iris",
    "least_squares",
    "letters",
    "load_idx",
    "load_npz",
    "mean_and_std",
    "predict_from_pool",
    "ridge",
    "sample_without_replacement",
    "split",
    "squared_error",
    "squared_errors",
    "standard_library",
    "uniform_loss_weight",
    "wine",
]
