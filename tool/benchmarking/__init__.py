"""What `python -m tool.benchmark` is made of: exporting, scoring and timing a network in every format, and choosing."""
