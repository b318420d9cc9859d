"""PaddleSeg's networks, run in processes of their own for comparison."""
