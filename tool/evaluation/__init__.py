"""The parts of tool.evaluate: comparison, exported networks, tables, and the report."""
