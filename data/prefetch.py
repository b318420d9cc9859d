"""Reading ahead in threads: OpenCV and numpy release the interpreter lock while they work."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterable, Iterator, TypeVar

from compat.processor import physical_cores

Item = TypeVar("Item")
Result = TypeVar("Result")

MOST_THREADS = 8


def reader_threads() -> int:
    """The default number of threads: one a physical core, up to 8."""
    return min(MOST_THREADS, physical_cores())


def in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """function(item) of every item, in their order, computed by `threads` threads up to `ahead` items in advance.

    An exception of `function` or of `items` is raised in place of its result and ends the iterator. However it ends
    (exhausted, by an exception, closed, garbage collected), items that were not begun are dropped, and the threads end
    after their current item; nothing waits for them.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reader")
    pending: deque = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
