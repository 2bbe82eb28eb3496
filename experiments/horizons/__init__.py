"""Meta-testing of rules at several lifetime lengths, and their sensitivity to time."""
