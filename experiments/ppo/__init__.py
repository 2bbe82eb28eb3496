"""Training of agents by PPO, by DPO or under a learned drift, in any environment."""
