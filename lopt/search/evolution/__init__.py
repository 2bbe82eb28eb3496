"""Searching among programs: ageing evolution, its baselines, and what is remembered."""

from lopt.search.evolution.individual import Individual
from lopt.search.evolution.memory import Memory
from lopt.search.evolution.propose import Chance, Proposer, Tournament
from lopt.search.evolution.search import Search

__all__ = ["Chance", "Individual", "Memory", "Proposer", "Search", "Tournament"]
