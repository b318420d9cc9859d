"""What `tool.prepare_data import` writes: a dataset of list files, and a recipe that trains on it."""
