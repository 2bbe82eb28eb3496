"""Several runs that differ in their seed alone, as one result."""
