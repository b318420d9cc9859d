"""Writes the table of a GPU wheel's kernels, {kernel: [types]}, sorted; no GPU is needed.

In an environment with paddlepaddle-gpu: python tests/helpers/gpu_kernel_table.py tests/engine/gpu_kernels_2.6.2.json
"""

import json
import sys
from pathlib import Path
from typing import Dict, Iterable, List, Mapping

import compat  # noqa: F401  it must come before paddle

import paddle


def gpu_types(registered: Mapping[str, Iterable[str]]) -> Dict[str, List[str]]:
    """{kernel: sorted types} registered for GPUs; `registered` is {kernel: ["(GPU, NCHW, float32)", ...]}."""
    table = {}
    for kernel, keys in sorted(registered.items()):
        split = [key.strip("()").split(", ") for key in keys]
        types = {dtype for backend, _, dtype in split if backend.startswith("GPU")}
        if types:
            table[kernel] = sorted(types)
    return table


if __name__ == "__main__":
    rows = gpu_types(paddle.base.core._get_registered_phi_kernels("all")).items()
    lines = ",\n".join(f"{json.dumps(kernel)}: {json.dumps(types)}" for kernel, types in rows)
    Path(sys.argv[1]).write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
