"""Mirror learning with learned drifts: what `experiments.lpo` and `experiments.ppo` share."""
