"""The only code that opens and writes raster files."""
