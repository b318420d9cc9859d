"""Benchmarks of this project, mostly against PaddleSeg; `python -m benchmarks.NAME --help` describes each."""
