"""What every other package relies on before it touches Paddle.

Importing this package, before paddle, sets what can only be set that early: the zlib that Paddle 2.6.2 shadows, the
number of CPU threads, the kernels of MKL, and what happens to freed memory. It also makes paddle's DataLoader report
the errors of a dataset. `repair_paddleseg()` repairs the calls of PaddleSeg 2.8 that crash on today's Paddle.
"""

import zlib  # noqa: F401  Paddle 2.6.2 ships its own zlib; the system's must be loaded first or `import cv2` crashes

from compat.allocator import keep_freed_memory
from compat.errors import UserError, unknown_name
from compat.files import check_writable, json_text, write_json, write_text
from compat.interrupt import exit_quietly_on_interrupt, restore_keyboard_interrupt
from compat.log import logger
from compat.processor import configure_cpu
from compat.quiet_import import import_paddle_quietly
from compat.streams import replace_closed_streams
from compat.text_table import markdown_table, text_table

replace_closed_streams()
exit_quietly_on_interrupt()
configure_cpu()
keep_freed_memory()
import_paddle_quietly()

# These import paddle, so they come after the environment is set.
from compat.data_loader_repair import repair_data_loader
from compat.paddleseg_repairs import repair_paddleseg

repair_data_loader()

__all__ = [
    "UserError",
    "check_writable",
    "restore_keyboard_interrupt",
    "json_text",
    "logger",
    "markdown_table",
    "repair_paddleseg",
    "text_table",
    "unknown_name",
    "write_json",
    "write_text",
]
