"""In-context learning: general-purpose learners, one-layer theory, and uncertainty."""
