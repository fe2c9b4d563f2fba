"""A folder behind an address, whose files are sent at a steady rate: in a process of its own, as a server is.

    python scripts/conversions/throttled.py DIRECTORY BYTES_A_SECOND

Prints the folder's address, then answers until it is ended.  The rate is that of all answers together.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

PIECE = 1 << 18
BURST = 0.02
"""Seconds that may be caught up with, where this process was kept waiting; a line does not hold more for anybody."""


class Rate:
    """Lets ``rate`` bytes a second pass."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free_at = 0.0
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        """Returns when ``size`` bytes more have passed."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() - BURST) + size / self._rate
            left = self._free_at - time.monotonic()
        if left > 0:
            time.sleep(left)


def handler(directory: Path, wait: Callable[[int], None]) -> type[BaseHTTPRequestHandler]:
    """What answers GET for the files of ``directory``, whole or in part."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # a client that has enough
                super().handle()

        def do_GET(self) -> None:
            file = directory / Path(unquote(self.path)).name
            if not file.is_file():
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            total = file.stat().st_size
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            start, stop = (int(asked[1]), min(int(asked[2]) + 1, total)) if asked else (0, total)
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{total}")
            self.send_header("Content-Length", str(stop - start))
            self.send_header("ETag", f'"{total:x}"')
            self.end_headers()
            with file.open("rb", buffering=0) as f:
                f.seek(start)
                while start < stop and (piece := f.read(min(PIECE, stop - start))):
                    wait(len(piece))
                    self.wfile.write(piece)
                    start += len(piece)

    return Handler


def main() -> None:
    directory, rate = Path(sys.argv[1]), float(sys.argv[2])
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(directory, Rate(rate).wait))
    print(f"http://127.0.0.1:{server.server_address[1]}/{directory.name}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
