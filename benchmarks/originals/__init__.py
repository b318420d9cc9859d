"""Comparison with the original networks, losses and training code, from files of their results."""
