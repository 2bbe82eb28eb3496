"""Aggregation of runs that differ only in their meta-training seed."""
