"""The group of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import logging
import signal
import sys
import traceback

import click

from geoseg import __version__
from geoseg.errors import GeosegError, ResourceError
from geoseg.redaction import redact

from . import options
from .ablate import ablate
from .area import area
from .compare import compare
from .config import configurable
from .design import design
from .doctor import doctor
from .export import export
from .import_ import import_
from .info import info
from .job import job
from .plot import plot
from .predict import predict
from .restyle import restyle
from .sample import sample
from .score import score
from .stac import stac
from .stats import stats
from .train import train
from .vectorize import vectorize

INTERRUPTED = 130


class Commands(click.Group):
    """Turns errors into one line on stderr and an exit code; --debug shows the traceback instead."""

    def main(self, args=None, *rest, **kwargs):
        kwargs["standalone_mode"] = False
        args = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in args
        _show_messages()
        _stop_on_termination()
        try:
            code = super().main(args, *rest, **kwargs)
        except click.ClickException as error:
            error.message = redact(error.message)
            error.show()
            code = error.exit_code
        except (KeyboardInterrupt, click.Abort) as error:
            said = str(error.__cause__ or error) or "interrupted; what was finished before is intact"
            click.echo(f"geoseg: {said}", err=True)
            code = INTERRUPTED
        except Exception as error:
            code = _show_traceback() if debug else _say(error)
        sys.exit(code or 0)


def _show_traceback() -> int:
    click.echo(redact(traceback.format_exc()), err=True)
    return 1


def _say(error: Exception) -> int:
    """An error in one line; its exit code."""
    if isinstance(error, GeosegError):
        click.echo(f"geoseg: {error}", err=True)
        return error.exit_code
    reason = redact(" ".join(str(error).split()))[:300]
    if _is_out_of_memory(error):
        click.echo(f"geoseg: out of memory ({reason}); take a smaller --window, --size or batch", err=True)
        return ResourceError.exit_code
    click.echo(f"geoseg: unexpected {type(error).__name__}: {reason} (--debug shows where)", err=True)
    return 1


def _is_out_of_memory(error: Exception) -> bool:
    """numpy's and torch's ways to say it; torch on the CPU has no class of its own for it."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in said or "can't allocate memory" in said


def _stop_on_termination() -> None:
    """SIGTERM ends a command as Ctrl-C does: unfinished files are removed."""

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


class Redacting(logging.Formatter):
    """Messages without credentials, whoever makes them."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def _show_messages() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(Redacting("%(message)s"))
    logger = logging.getLogger("geoseg")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    # Compiling a network for the CPU looks for CUDA, too, and says that there is none.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="geoseg")
@options.quiet
@options.debug
@click.pass_context
def cli(context: click.Context) -> None:
    """Land-cover maps from satellite and aerial rasters, and how good they are.

    Results go to stdout, progress and messages to stderr.

    \b
    Exit codes: 0 done, 1 unexpected, 2 usage, 3 input unusable, 4 model unusable,
    5 output exists or locked, 6 finished with failed parts, 7 resources (disk, memory, device), 130 interrupted.
    """
    context.ensure_object(dict).setdefault("progress", sys.stderr.isatty())


COMMANDS = (
    *(sample, stats, train, ablate, predict, job, score, compare, design, area, plot, vectorize, restyle),
    *(import_, export, stac, info, doctor),
)
for command in COMMANDS:
    cli.add_command(configurable(command))
