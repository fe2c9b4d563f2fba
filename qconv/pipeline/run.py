"""Runs row blocks through a pool of workers: encoders made ready, memory shared out, progress told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from qconv import blocks, cores, storage
from qconv.errors import and_more
from qconv.pipeline import memory, processor, schedule
from qconv.pipeline.encoding import Overflow
from qconv.pipeline.processor import Buffers, Processor
from qconv.pipeline.progress import Counter, Progress, Silent
from qconv.pipeline.schedule import Block, TensorWork
from qconv.pipeline.sink import Sink
from qconv.pipeline.sizing import Sizes, cost, enough, fit
from qconv.pipeline.workers import Cancellation, run_workers
from qconv.storage import ByteRange, StoredFile
from qconv.tensors import stored_files, stored_ranges


def run(
    segments: Iterable[Block],
    sink: Sink,
    *,
    threads: int | None = None,
    memory_limit: int | None = None,
    progress: Progress | None = None,
    whole: tuple[int, int] | None = None,
    cancellation: Cancellation | None = None,
) -> tuple[str, ...]:
    """Reads, encodes and hands to ``sink`` all rows of ``segments``, which ``schedule`` makes of works or plans.

    As many workers as ``threads`` (None: the cores this process may use) encode; a few more read and write meanwhile,
    so that no core waits for the disk.  What comes over a line is fetched ahead, in the segments' order.

    The process stays under ``memory_limit`` bytes (None: 400e6, and what the largest Hessian's factor takes).
    ``whole``: bytes and tensors the progress counts, where an earlier run has done a share.

    Returns warnings, which the progress is told too: of each tensor that has weights too large for its 16-bit type.

    Raises the first error of any worker: InputError (source unreadable), WeightError (NaN or infinity), UsageError (too
    little memory), what the sink raises, KeyboardInterrupt.
    """
    segments = list(segments)
    progress = progress or Silent()
    counter = Counter(segments, progress, whole)
    if not segments:
        return ()
    cancellation = cancellation or Cancellation()
    works = list(dict.fromkeys(s.work for s in segments))
    if encoders := processor.encoders(works):
        # in a thread of its own: the compiler loses a Ctrl-C, or breaks at it, and takes longer than a second
        run_workers(encoders, lambda encoder, _: encoder.load(), [None], cancellation)
    threads = threads or cores.usable()

    def cost_with_sink(work: TensorWork, rows: int) -> int:
        return cost(work, rows) + sink.memory(work, rows)

    budget = memory.budget(memory_limit)
    factors = max((w.hessian.resident_bytes for w in works if w.hessian is not None), default=0)
    if factors and memory_limit is None:
        budget = max(budget + factors, enough(works, cost_with_sink))
    with storage.reading_ahead(_files(works), budget // 2, cancellation.check) as ahead:
        sizes = fit(works, threads + max(1, threads // 4), budget - ahead.memory, cost_with_sink)
        ahead.follow(_ranges(schedule.row_blocks(segments, sizes.rows)))
        if ahead.memory:
            _warn_of_reading_twice(works, sizes, progress)
        process = Processor(sink, sizes, threads, cancellation)

        def one(block: Block, buffers: Buffers) -> None:
            process.process_block(block, buffers)
            if counter.did(block):
                process.release(block.work)

        buffers = [Buffers() for _ in range(sizes.workers)]
        try:
            with blocks.single_threaded() if factors else nullcontext():
                run_workers(schedule.row_blocks(segments, sizes.rows), one, buffers, cancellation)
        finally:
            warnings = tuple(_warning(*key, overflow) for key, overflow in sorted(process.overflows.items()))
            for warning in warnings:
                progress.note(warning)
        return warnings


def _warn_of_reading_twice(works: Iterable[TensorWork], sizes: Sizes, progress: Progress) -> None:
    """Where a group of rows does not fit into memory, each of its blocks reads all of the group: over a line, anew."""
    twice = [work.name for work in works if sizes.rows(work) < min(work.tensor.row_group, work.rows)]
    if twice:
        names = and_more([f"'{name}'" for name in twice], 1)
        progress.note(f"what {names} are made from is fetched more than once: more --memory lowers that")


def _files(works: Iterable[TensorWork]) -> Iterator[StoredFile]:
    """The files that tensors are read from."""
    for work in works:
        yield from stored_files(work.tensor)


def _ranges(row_blocks: Iterable[Block]) -> Iterator[ByteRange]:
    """The bytes that row blocks are read from."""
    for block in row_blocks:
        yield from stored_ranges(block.work.tensor, block.start, block.stop)


def _warning(tensor: str, block_type: str, overflow: Overflow) -> str:
    weights = "1 weight is" if overflow.count == 1 else f"{overflow.count:,} weights are"
    of = "its size is" if overflow.count == 1 else "the greatest is"
    return (
        f"tensor '{tensor}': {weights} too large for {block_type} and became infinite ({of} {overflow.greatest:g});"
        " bf16 and f32 hold larger ones"
    )
