"""Sequence models that learn in context."""
