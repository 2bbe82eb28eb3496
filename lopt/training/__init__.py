"""Training runs that stop and resume bit for bit: loop, run folder, checkpoints, metrics and progress display."""

from lopt.training.checkpoint import CheckpointError, Checkpoints
from lopt.training.compiling import enable_compilation_cache, jit_once, jit_repeated, no_garbage_collection
from lopt.training.fit import FitResult, Learner, fit
from lopt.training.folder import RunFolder, open_folder, write_json, write_text
from lopt.training.host_loop import HostState, run_on_host
from lopt.training.loop import Hook, Outcome, check_sizes, run, untrained
from lopt.training.metrics_log import NONFINITE, JsonlLogger, Logger, ProgressDisplay, read_metrics, status
from lopt.training.run_config import (
    RunConfig,
    describe,
    differences,
    fingerprint,
    from_json,
    identity,
    run_config,
    to_json,
)
from lopt.training.stopping import (
    StopRequest,
    command_line,
    interpreter,
    program,
    resume_command,
    resume_line,
    runnable,
)

__all__ = [
    "NONFINITE",
    "CheckpointError",
    "Checkpoints",
    "FitResult",
    "Hook",
    "HostState",
    "JsonlLogger",
    "Learner",
    "Logger",
    "Outcome",
    "ProgressDisplay",
    "RunConfig",
    "RunFolder",
    "StopRequest",
    "check_sizes",
    "command_line",
    "describe",
    "differences",
    "enable_compilation_cache",
    "fingerprint",
    "fit",
    "from_json",
    "identity",
    "interpreter",
    "jit_repeated",
    "jit_once",
    "open_folder",
    "program",
    "read_metrics",
    "resume_command",
    "resume_line",
    "run",
    "run_config",
    "run_on_host",
    "runnable",
    "status",
    "to_json",
    "no_garbage_collection",
    "untrained",
    "write_json",
    "write_text",
]
