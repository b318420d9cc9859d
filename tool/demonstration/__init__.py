"""The page of tool.demo: its server, its networks, the check of uploads."""
