"""Closed forms of learned rules, by the search that finds optimizers."""
