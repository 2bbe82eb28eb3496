"""Symbolic search for an optimizer, starting from AdamW (the method that found Lion)."""
