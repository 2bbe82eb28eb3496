"""General-purpose in-context learning: meta-training sequence models to learn classification from their context."""
