"""The parts of benchmarks.ablation: the plan, its runs, their scores, and the tables."""
