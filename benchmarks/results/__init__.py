"""Figures as files: what benchmarks write, and the tables that are made of it."""
