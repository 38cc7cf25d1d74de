"""The networks, the segmenter around them, and their one file format."""
