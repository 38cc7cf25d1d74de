"""Figures for articles and notebooks, by matplotlib."""
