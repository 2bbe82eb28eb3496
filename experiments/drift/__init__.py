"""PPO agents under fixed and learned drifts, shared by `experiments.lpo` and `experiments.ppo`."""
