"""One package per study: `python -m experiments.<name>`."""
