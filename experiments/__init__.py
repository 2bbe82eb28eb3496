"""One package per study: `python -m experiments.<name>`."""

import os
import signal
import sys
from types import FrameType


def _quit(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)


# Python's argument of a module that is being found: the process is one of `python -m experiments.<name>`. Ctrl-C while
# it imports JAX would raise an exception inside of compiled code that cannot handle it; `report_errors` takes over.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGINT, _quit)
