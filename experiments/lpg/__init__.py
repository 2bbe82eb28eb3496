"""LPG: the learned policy gradient, meta-trained on levels drawn at random (arXiv 2007.08794)."""
