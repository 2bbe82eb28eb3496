"""Rules at horizons they were and were not trained for, and how much they heed the time."""
