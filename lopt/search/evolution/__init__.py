"""Search over programs: regularised evolution, its baselines, the fitness cache and funnel selection."""

from lopt.search.evolution.individual import FitnessCache, Individual, Proposer, RandomSearch, Tournament
from lopt.search.evolution.search import Batch, Candidate, Fitness, Search, SearchState, Stage, funnel

__all__ = [
    "Batch",
    "Candidate",
    "Fitness",
    "FitnessCache",
    "Individual",
    "Proposer",
    "RandomSearch",
    "Search",
    "SearchState",
    "Stage",
    "Tournament",
    "funnel",
]
