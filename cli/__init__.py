"""The command line of geoseg, installed as geoseg_cli: one file a command, nothing decided here."""
