"""The same map from one process, an array of them or a cluster: planned once, computed in parts, merged."""
