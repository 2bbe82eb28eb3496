"""Supervised tasks, and the lifetimes of models that learn them."""
