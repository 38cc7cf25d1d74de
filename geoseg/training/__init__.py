"""Losses, class weights, settings and the loop."""
