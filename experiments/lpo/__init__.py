"""LPO and TA-LPO: the drift of a PPO agent, meta-trained by evolution strategies (arXiv 2210.05639, 2402.05828)."""
