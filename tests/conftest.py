"""What holds for every test."""

from __future__ import annotations

import signal

from hypothesis import settings

# A shell starts jobs in the background with Ctrl-C ignored, which children inherit: tests press it nevertheless.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines are noisy: no example fails for having taken long.
settings.register_profile("qconv", deadline=None)
settings.load_profile("qconv")
