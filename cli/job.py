"""geoseg job: plan, run, status, merge"""

from __future__ import annotations

import json

import click

from . import options


@click.group()
def job() -> None:
    """The map of predict, computed by many processes or machines.

    plan once, run anywhere and as often as needed, merge at the end. All that is known of a job lies in its folder JOB,
    so whatever stops a run, the same command goes on.
    """


@job.command()
@click.argument("scenes", nargs=-1, required=True, metavar="SCENE...", type=options.RASTER)
@click.option("-o", "--output", required=True, metavar="JOB/", help="The job's folder, where all who compute see it.")
@options.planning
@click.option(
    "--part",
    type=options.PIXELS,
    default=8192,
    show_default=True,
    metavar="PX",
    help="Side of the squares that one task computes, a multiple of 512; larger ones repeat less work.",
)
@options.opening
@options.overwrite
@options.json
@options.quiet
@options.debug
def plan(scenes, output: str, as_json: bool, **given) -> None:
    """Decide a prediction of SCENE and cut it into tasks, on the kind of processor or GPU that will compute it."""
    import geoseg

    planned = geoseg.plan_job(scenes, output, **given)
    click.echo(json.dumps(planned.summary()) if as_json else planned.to_text(output))
    options.suggest("job", "run", output)


@job.command()
@click.argument("folder", metavar="JOB/")
@click.option(
    "--shard",
    metavar="I/N",
    help="Only the I-th of N slices, from 1.  [default: in an array job of SLURM or AWS Batch its own slice]",
)
@click.option("--dask", metavar="local|ADDRESS", help="On Dask: processes of this machine, or a scheduler's address.")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Of --dask local.  [default: one a GPU or 4 cores]"
)
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Of the network in each process.  [default: its cores]"
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Of a local worker, such as 8GiB or 0.25 of all; one that takes more is begun anew.",
)
@options.json
@options.quiet
@options.debug
@click.pass_obj
def run(obj: dict, folder: str, as_json: bool, **given) -> None:
    """Compute what is left of a job: tasks without a part, or whose part was altered.

    Any number of these may run at a time, on any machines that see the folder, the scenes and the model.
    """
    import geoseg

    done = geoseg.run_job(folder, progress=obj["progress"], **given)
    click.echo(json.dumps(done.to_dict()) if as_json else done.to_text())
    found = geoseg.job_status(folder)
    if found.is_finished:
        options.suggest("job", "merge", folder, "-o", "DIR/" if len(found.scenes) > 1 else "MASK.tif")
    else:
        options.suggest("job", "status", folder)


@job.command()
@click.argument("folder", metavar="JOB/")
@options.json
@options.quiet
@options.debug
def status(folder: str, as_json: bool) -> None:
    """Say how far a job is, scene by scene, and what failed."""
    import geoseg

    found = geoseg.job_status(folder)
    click.echo(json.dumps(found.to_dict()) if as_json else found.to_text())


@job.command()
@click.argument("folder", metavar="JOB/")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="MASK.tif|.vrt|.gti.gpkg|DIR/",
    help="The map: of its own, or one that names the parts; for several scenes a folder, ending in /.",
)
@click.option("--cog", is_flag=True, help="Write Cloud Optimised GeoTIFF.")
@options.creation_options
@click.option("--partial", "allow_unfinished", is_flag=True, help="Merge what is finished; the rest is nodata.")
@options.overwrite
@options.json
@options.quiet
@options.debug
def merge(folder: str, output: str, as_json: bool, **given) -> None:
    """Make the map of a finished job, with the classes' areas; into a folder also summary.json."""
    import geoseg

    merged = geoseg.merge_job(folder, output, **given)
    click.echo(json.dumps([one.to_dict() for one in merged]) if as_json else "\n".join(one.to_text() for one in merged))
