"""The first import of paddle, without the warnings that every command would otherwise begin with."""

import contextlib
import io
import sys
import warnings

# Paddle warns of any OMP_NUM_THREADS above 1; `configure_cpu` sets it to the number of cores.
THREADS_WARNING = "OMP_NUM_THREADS"
HARMLESS = (
    "No ccache found",  # no operator is compiled here
    "When training, we now always track global mean and variance",
    "You are using GPU version Paddle, but your CUDA device is not set properly",  # engine.gpu says why
)


def import_paddle_quietly() -> None:
    """Import paddle; whatever else it writes to standard error is still written."""
    for message in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            import paddle  # noqa: F401
    finally:
        sys.stderr.writelines(line for line in captured.getvalue().splitlines(True) if THREADS_WARNING not in line)
