"""Supervised tasks to learn optimizers on, and tasks to be learned in context: lives, data, and variations of them."""

from lopt.tasks.bundled import breast_cancer, diabetes, digits, iris, wine
from lopt.tasks.dataset import Dataset, Examples, split
from lopt.tasks.files import idx_images, image_dataset, load_idx, load_npz
from lopt.tasks.functions import Bowl, Quadratic, Rosenbrock
from lopt.tasks.in_context import InContextLifetime, Reader, SequenceLevels
from lopt.tasks.language import VOCABULARY, LanguageTask, encode, standard_library
from lopt.tasks.letters import letters
from lopt.tasks.lifetime import Late, Student, SupervisedLifetime, evenly
from lopt.tasks.networks import ConvNet, Perceptron, Recurrent, Transformer, apply_and_watch
from lopt.tasks.projected import ProjectedClassification, Projection, draw_distinct
from lopt.tasks.rescaled import Rescaled, Units
from lopt.tasks.supervised import DatasetTask, Loss, cross_entropy, squared_error
from lopt.tasks.variation import Variation, Variations

__all__ = [
    "VOCABULARY",
    "Bowl",
    "ConvNet",
    "Dataset",
    "DatasetTask",
    "Examples",
    "InContextLifetime",
    "LanguageTask",
    "Late",
    "Loss",
    "Perceptron",
    "ProjectedClassification",
    "Projection",
    "Quadratic",
    "Reader",
    "Recurrent",
    "Rescaled",
    "Rosenbrock",
    "SequenceLevels",
    "Student",
    "SupervisedLifetime",
    "Transformer",
    "Units",
    "Variation",
    "Variations",
    "apply_and_watch",
    "breast_cancer",
    "cross_entropy",
    "diabetes",
    "digits",
    "draw_distinct",
    "encode",
    "evenly",
    "idx_images",
    "image_dataset",
    "iris",
    "letters",
    "load_idx",
    "load_npz",
    "split",
    "squared_error",
    "standard_library",
    "wine",
]
