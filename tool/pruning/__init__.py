"""The parts of tool.prune."""
