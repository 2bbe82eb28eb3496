"""Searching for an optimizer among programs, from AdamW, as Lion was found."""
