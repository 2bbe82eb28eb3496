"""Huge pages for large arrays, to reduce page faults.

XLA on CPU allocates its working memory at every call, and the kernel maps it page by page. With 4 KiB pages that took a
third to a half of a meta-step (measured on a virtual machine); with huge pages its share is negligible. The C library
reads the setting when a process starts, so the process is restarted once.
"""

import os
import sys

TUNABLE = "glibc.malloc.hugetlb=1"


def low_fault_memory(environment: dict[str, str]) -> dict[str, str]:
    """The environment variables with the setting added; an existing `GLIBC_TUNABLES` is kept."""
    return {"GLIBC_TUNABLES": TUNABLE} | environment


def restart_with_huge_pages() -> None:
    """Restart this process with huge pages, on Linux and unless `GLIBC_TUNABLES` is set.

    Numerical results do not change. Call it first in an entry point, before JAX is imported. Any value of
    `GLIBC_TUNABLES` prevents the restart.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], low_fault_memory(dict(os.environ)))
