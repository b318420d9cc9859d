"""The parts of tool.benchmark: exporting, scoring and timing a network in every format, and choosing one."""
