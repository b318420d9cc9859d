"""What tool.gpu_check measures, a part a file: each returns findings, on a GPU or on the CPU."""
