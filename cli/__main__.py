"""python -m geoseg_cli"""

from .main import cli

cli(prog_name="geoseg")
