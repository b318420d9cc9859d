"""Measuring the speed of networks: the clock, the machine, the engines, and published figures."""
