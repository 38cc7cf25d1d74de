"""From a scene and a segmenter to a class raster: plan, shards, stitching."""
