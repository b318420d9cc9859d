"""The parts of tool.gpu_check; each returns a list of findings, on a GPU or on the CPU."""
