"""The parts of tool.predict: sources, the pipeline through the network, and results."""
