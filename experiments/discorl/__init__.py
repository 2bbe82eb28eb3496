"""Meta-training and meta-testing of DiscoRL's rule."""
