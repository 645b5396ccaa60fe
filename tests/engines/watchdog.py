"""Kills the engines that outlive the tests, however these end: a process of its own that waits for a pipe to close."""

import contextlib
import subprocess
import sys
import threading

_PROGRAM = """
import os, signal, sys
pids = set()
for line in sys.stdin:
    sign, pid = line[0], int(line[1:])
    (pids.add if sign == "+" else pids.discard)(pid)
for pid in pids:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


class Watchdog:
    """One process for any number of engines. It ignores an interrupt from the terminal: it is the one who tidies up."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process = None

    def watch(self, pid: int) -> None:
        with self._lock:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-c", _PROGRAM],
                    stdin=subprocess.PIPE,
                    text=True,
                    start_new_session=True,
                )
            self._say(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        with self._lock:
            self._say(f"-{pid}\n")

    def _say(self, line):
        if self._process is not None:
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def close(self) -> None:
        """Kills what is still being watched and ends."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait()
