"""What holds for every test."""

from __future__ import annotations

import signal

# A shell starts jobs in the background with Ctrl-C ignored, which children inherit: tests press it nevertheless.
signal.signal(signal.SIGINT, signal.default_int_handler)
