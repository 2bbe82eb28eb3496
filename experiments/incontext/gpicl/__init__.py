"""General-purpose in-context learning (GPICL): meta-training sequence models for in-context classification."""
