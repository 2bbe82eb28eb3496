"""What every study shares: command line, run folder, host loop, checkpoints, logging, statistics, pictures,
report.
"""
