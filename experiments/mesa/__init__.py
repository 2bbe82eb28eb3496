"""One layer that learns to learn: linear attention and the mesa-layer against the theory of what they become."""
