"""Single layers of attention with a known solution."""
