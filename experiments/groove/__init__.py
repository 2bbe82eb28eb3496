"""GROOVE: a learned policy gradient, meta-trained on levels replayed by algorithmic regret (arXiv 2310.02782)."""
