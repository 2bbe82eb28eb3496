"""Search over programs: regularised evolution, its baselines, the fitness cache and funnel selection."""

from lopt.search.evolution.funnel import Stage, funnel
from lopt.search.evolution.individual import FitnessCache, Individual
from lopt.search.evolution.propose import Proposer, RandomSearch, Tournament
from lopt.search.evolution.search import Batch, Candidate, Fitness, Search, SearchState

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
