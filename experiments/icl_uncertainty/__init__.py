"""Transformers that learn regression in context, beside the exact posterior: means, uncertainty, and pools of tasks."""
