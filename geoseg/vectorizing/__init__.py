"""Polygons from class rasters."""
