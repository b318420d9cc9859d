"""Measuring how fast networks are: the clock, the machine, the published figures, the engines of a network."""
