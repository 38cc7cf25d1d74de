"""python -m geoseg: the command line."""

from geoseg_cli.main import cli

if __name__ == "__main__":
    cli(prog_name="geoseg")
