"""Scenes with labels: layouts, splits, and the synthetic sample."""
