"""Supervised tasks to learn optimizers on, and tasks to be learned in context: lives, data, and variations of them."""

from lopt.tasks.bayes import Prediction, PriorPredictor, predict_from_pool
from lopt.tasks.bundled import breast_cancer, diabetes, digits, iris, wine
from lopt.tasks.dataset import Dataset, Examples, split
from lopt.tasks.files import idx_images, image_dataset, load_idx, load_npz
from lopt.tasks.functions import Bowl, Quadratic, Rosenbrock
from lopt.tasks.in_context import InContextLifetime, Reader, SequenceLevels
from lopt.tasks.language import VOCABULARY, LanguageTask, encode, standard_library
from lopt.tasks.letters import letters
from lopt.tasks.lifetime import Late, Student, SupervisedLifetime, evenly
from lopt.tasks.linear_system import LinearSystem
from lopt.tasks.networks import ConvNet, Perceptron, Recurrent, Transformer, apply_and_watch
from lopt.tasks.one_step import OneStep
from lopt.tasks.population import PopulationLoss, population_loss
from lopt.tasks.prefixes import averaging, descent, ordinary, ridge
from lopt.tasks.projected import ProjectedClassification, Projection, draw_distinct
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
from lopt.tasks.rescaled import Rescaled, Units
from lopt.tasks.rotations import Rotations
from lopt.tasks.starts import ConstantStart, GaussianStart, SignStart, SparseStart, Start
from lopt.tasks.supervised import DatasetTask, Loss, cross_entropy, squared_error
from lopt.tasks.variation import Variation, Variations

__all__ = [
    "VOCABULARY",
    "Bowl",
    "ConstantStart",
    "ConvNet",
    "Criterion",
    "Dataset",
    "DatasetTask",
    "Examples",
    "GaussianInputs",
    "GaussianStart",
    "InContextLifetime",
    "Inputs",
    "LanguageTask",
    "Late",
    "LinearFunction",
    "LinearRegression",
    "LinearSystem",
    "Loss",
    "OneStep",
    "Perceptron",
    "PopulationLoss",
    "Prediction",
    "PriorPredictor",
    "ProjectedClassification",
    "Projection",
    "Quadratic",
    "Reader",
    "Recurrent",
    "Rescaled",
    "Rosenbrock",
    "Rotations",
    "SequenceLevels",
    "SignStart",
    "SparseStart",
    "Start",
    "Student",
    "SupervisedLifetime",
    "Transformer",
    "UniformInputs",
    "Units",
    "Variation",
    "Variations",
    "apply_and_watch",
    "averaging",
    "breast_cancer",
    "cross_entropy",
    "descent",
    "diabetes",
    "digits",
    "draw_distinct",
    "encode",
    "evenly",
    "gaussian_losses",
    "idx_images",
    "image_dataset",
    "iris",
    "letters",
    "load_idx",
    "load_npz",
    "mean_and_std",
    "ordinary",
    "population_loss",
    "predict_from_pool",
    "ridge",
    "split",
    "squared_error",
    "squared_errors",
    "standard_library",
    "wine",
]
