"""The error for an unknown environment name, with near matches."""

import difflib
from collections.abc import Iterable


def unknown_name(kind: str, got: str, names: Iterable[str]) -> ValueError:
    """The error for a name that is not among `names`: near matches (case does not count), then all names."""
    lower = {name.lower(): name for name in sorted(names)}
    within = [name for name in lower if got.lower() in name] if got else []
    near = within or difflib.get_close_matches(got.lower(), lower, n=2, cutoff=0.4)
    meant = f"; did you mean {' or '.join(lower[name] for name in near[:2])}?" if near else ";"
    return ValueError(f"unknown {kind} {got!r}{meant} choose from {', '.join(lower.values())}")
