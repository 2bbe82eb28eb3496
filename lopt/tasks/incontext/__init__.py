"""Tasks for in-context learners, classical baselines and exact posteriors."""
