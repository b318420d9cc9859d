"""Networks written for engines, and compared with what Paddle computes in eager mode."""

from engine.export.agreement import Agreement, compare
from engine.export.deployed import DeployedNetwork, fold_batch_norm
from engine.export.exporter import export_network

__all__ = ["Agreement", "DeployedNetwork", "compare", "export_network", "fold_batch_norm"]
