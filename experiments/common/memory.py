"""Fewer page faults: large arrays on huge pages.

XLA on CPU allocates its working memory anew at every call, and the kernel hands it out page by page. With 4 KiB pages
that took a third to a half of a meta-step (measured on a virtual machine); with huge pages it is hardly visible. The C
library reads the switch when a process starts, so the process starts itself again, once.
"""

import os
import sys

TUNABLE = "glibc.malloc.hugetlb=1"


def low_fault_memory(environment: dict[str, str]) -> dict[str, str]:
    """The environment with the switch added; a setting of the user's is left alone."""
    return {"GLIBC_TUNABLES": TUNABLE} | environment


def restart_with_huge_pages() -> None:
    """Start this process again with huge pages, where that is possible (Linux) and not done; numbers do not change.

    To be called first thing in an entry point, before JAX is imported. `GLIBC_TUNABLES` already set, to anything,
    switches it off.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], low_fault_memory(dict(os.environ)))
