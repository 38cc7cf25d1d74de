"""From a map and its truth to a report."""
