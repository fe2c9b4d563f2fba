"""A safetensors file of zeros, as large as wanted, behind an address: a process of its own, so that it holds nothing.

python tests/cli/sparse_server.py 'JSON OF SHAPES': prints the file's address, then answers until it is ended.
"""

from __future__ import annotations

import json
import math
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def main() -> None:
    header, offset = {}, 0
    for name, shape in json.loads(sys.argv[1]).items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    beginning = len(text).to_bytes(8, "little") + text
    total = len(beginning) + offset

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            if not self.path.endswith("model.safetensors"):
                self.send_response(404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            size = min(last + 1, total) - first
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{first + size - 1}/{total}")
            self.send_header("Content-Length", str(size))
            self.send_header("ETag", '"zeros"')
            self.end_headers()
            known = beginning[first : first + size]
            self.wfile.write(known)
            for start in range(len(known), size, 1 << 20):
                self.wfile.write(bytes(min(1 << 20, size - start)))

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}/zeros/model.safetensors", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
