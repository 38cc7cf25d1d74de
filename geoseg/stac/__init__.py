"""STAC Items of maps and models: plain records that catalogues and their clients read (docs/export.md)."""
