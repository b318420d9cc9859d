"""The parts of tool.predict: what is read, the pipeline through the network, and what is written."""
