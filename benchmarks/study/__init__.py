"""What `benchmarks.ablation` is made of: the plan, its runs, their scores, and the tables of these."""
