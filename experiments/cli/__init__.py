"""Command line of the studies: presets, options and their checks, evolution strategies, memory settings."""
