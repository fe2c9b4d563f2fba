"""The engine: a pool of threads takes row blocks, reads and encodes them, and hands them to a sink.

It knows no files.  ``works_of`` makes work of plans, ``as_read`` of any lazy tensor; ``share`` and ``segments`` say
which rows of it; ``run`` does it.  Memory is bounded by what tensors and encodings declare.
"""

from qconv.pipeline.progress import Progress, Silent
from qconv.pipeline.ranges import Ranges
from qconv.pipeline.run import run
from qconv.pipeline.schedule import Block, Encoding, Target, TensorWork, as_read, segments, share, works_of
from qconv.pipeline.sink import Sink
from qconv.pipeline.workers import Cancellation, Stopped, run_workers

__all__ = [
    "Block",
    "Cancellation",
    "Encoding",
    "Progress",
    "Ranges",
    "Silent",
    "Sink",
    "Stopped",
    "Target",
    "TensorWork",
    "as_read",
    "run",
    "run_workers",
    "segments",
    "share",
    "works_of",
]
