"""Overlaps reading, inference and writing with threads; decoding and encoding release the GIL."""

import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Callable, Deque, Dict, Iterable, NamedTuple, Optional, TypeVar

Task = TypeVar("Task")
Item = TypeVar("Item")
Result = TypeVar("Result")


class Timing(NamedTuple):
    """Number of items, seconds end to end, and seconds spent in each stage; the stages overlap."""

    items: int
    seconds: float
    reading: float
    inference: float
    writing: float

    def __str__(self) -> str:
        if not self.items:
            return "nothing to do"
        stages = ", ".join(
            f"{name} {1000 * spent / self.items:.1f} ms"
            for name, spent in (("reading", self.reading), ("inference", self.inference), ("writing", self.writing))
        )
        return f"{self.items} frames, {self.items / self.seconds:.1f} frames a second end to end ({stages} each)"


def overlap(
    tasks: Iterable[Task],
    read: Callable[[Task], Optional[Item]],
    infer: Callable[[Item], Result],
    write: Callable[[Result], Any],
    threads: int = 1,
    depth: int = 4,
) -> Timing:
    """Process every task in three stages; `infer` runs in the calling thread, in the order of the tasks.

    An exception in any stage ends the run; it is raised here after the results that are complete have been written.

    Args:
        tasks: consumed one by one, so they may be infinite.
        read: returns the item of a task, or None to end the run, as at the end of a video.
        infer: returns the result of an item.
        write: writes a result.
        threads: number of threads for reading, and for writing; with 1, both keep the order of the tasks.
        depth: how many items may wait for inference, and how many results for writing; bounds the memory.
    """
    spent: Dict[Callable, float] = dict.fromkeys((read, infer, write), 0.0)

    def timed(stage: Callable, argument: Any) -> Any:
        start = time.perf_counter()
        result = stage(argument)
        spent[stage] += time.perf_counter() - start
        return result

    tasks, done, started = iter(tasks), 0, time.perf_counter()
    ahead: Deque[Future] = deque()
    behind: Deque[Future] = deque()
    with ThreadPoolExecutor(threads) as reader, ThreadPoolExecutor(threads) as writer:

        def read_ahead() -> None:
            for task in tasks:
                ahead.append(reader.submit(timed, read, task))
                if len(ahead) >= depth:
                    break

        try:
            read_ahead()
            while ahead:
                item = ahead.popleft().result()
                if item is None:
                    break
                read_ahead()
                behind.append(writer.submit(timed, write, timed(infer, item)))
                done += 1
                if len(behind) >= depth:
                    behind.popleft().result()
            for waiting in behind:
                waiting.result()
        finally:
            for waiting in ahead:
                waiting.cancel()
    return Timing(done, time.perf_counter() - started, spent[read], spent[infer], spent[write])
