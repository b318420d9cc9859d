"""Figures as files: writing those of benchmarks/results, and the tables that are made of them."""
