"""The workers of one run: encoders made ready, memory shared out, row blocks handed round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qconv import cores
from qconv.convert import memory, pool, schedule
from qconv.convert.fit import fit
from qconv.convert.options import Options
from qconv.convert.pool import Stop
from qconv.convert.schedule import Block
from qconv.convert.tally import Tally
from qconv.convert.work import Encoder, Sink, Space, Work, encoders, prepare
from qconv.types import TensorReader


def carry_out(
    segments: Sequence[Block],
    reader: TensorReader,
    sink: Sink,
    options: Options,
    tally: Tally,
    stop: Stop,
    abandon: Callable[[], None],
) -> None:
    """Reads, encodes and hands to ``sink`` all rows of ``segments``; raises the first error (see ``pool.carry_out``).

    As many workers as threads encode; a few more read and write meanwhile, so that no core waits for the disk.
    """
    tensors = list(dict.fromkeys(s.tensor for s in segments))
    _prepare(encoders(tensors), stop)
    threads = options.threads or cores.usable()
    sizes = fit(tensors, threads + max(1, threads // 4), memory.budget(options.memory))
    work = Work(reader, sink, sizes, threads, stop)

    def one(block: Block, buffers: Space) -> None:
        work.carry_out(block, buffers)
        tally.did(block)

    spaces = [Space() for _ in range(sizes.workers)]
    pool.carry_out(schedule.blocks(segments, sizes.rows), one, spaces, stop, abandon)


def _prepare(found: Sequence[Encoder], stop: Stop) -> None:
    """In a thread of its own: the compiler loses a Ctrl-C, or breaks at it, and takes longer than a second."""

    def one(encoder: Encoder, _: None) -> None:
        prepare(encoder)

    if found:
        pool.carry_out(iter(found), one, [None], stop, lambda: None)
