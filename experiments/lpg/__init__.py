"""LPG: the learned policy gradient, meta-trained on levels drawn from a distribution (arXiv 2007.08794)."""
