"""The parts of tool.demo: the web server, its networks, and the checks of uploads."""
