"""Runs MiniStack for as long as whoever started it lives.

Standard input is a pipe whose other end `cargo local` holds and never writes to. It closes when that process
ends, however it ends; then MiniStack, the functions that it runs and its temporary files go too.
"""

import os
import runpy
import shutil
import signal
import sys
import threading

temporary_files = sys.argv.pop()


def end():
    shutil.rmtree(temporary_files, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def end_with_parent():
    sys.stdin.buffer.read()
    end()


os.setpgid(0, 0)  # a group of our own, to end it as a whole
threading.Thread(target=end_with_parent, daemon=True).start()
try:
    import additions  # noqa: F401 - it takes a second, so that the thread above must watch already

    runpy.run_module("ministack", run_name="__main__")
finally:
    end()
