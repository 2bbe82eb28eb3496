"""Searching among programs: ageing evolution, its baselines, what is remembered, and the funnel."""

from lopt.search.evolution.funnel import Level, funnel
from lopt.search.evolution.individual import Individual
from lopt.search.evolution.memory import Memory
from lopt.search.evolution.propose import Chance, Proposer, Tournament
from lopt.search.evolution.search import Fitness, Search

__all__ = ["Chance", "Fitness", "Individual", "Level", "Memory", "Proposer", "Search", "Tournament", "funnel"]
