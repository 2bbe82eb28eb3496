"""PPO agents in an environment, with published settings: built, trained under several rules and measured."""
