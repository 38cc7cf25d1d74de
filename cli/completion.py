"""What shells offer where a word is begun: names that are cheap to find, and files. Loads no library."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

LEGENDS = ("deepglobe",)
ENCODERS = ("plain", "resnet18", "resnet34", "resnet50", "convnext_tiny", "convnext_small", "efficientnet_b0")
ENCODERS += ("efficientnet_b3", "mobilenetv3_large_100", "regnety_016")
"""Some of timm's, which has hundreds and takes seconds to list them."""
DEVICES = ("auto", "cpu", "cuda", "cuda:0", "cuda:1")
RUN_MODEL = "model.safetensors"


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Whatever file the shell finds."""
    return [CompletionItem(incomplete, type="file")]


def models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Runs with a model below ./runs, the newest first, and files."""
    found = sorted(Path("runs").glob(f"*/{RUN_MODEL}"), key=lambda path: -path.stat().st_mtime)
    return _or_files(context, parameter, incomplete, [str(path.parent) for path in found])


def legends(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Legends that have names, and files."""
    return _or_files(context, parameter, incomplete, LEGENDS)


def encoders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The paper's own and well-known ones of timm."""
    return _begun(incomplete, ENCODERS)


def devices(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Those that most machines have."""
    return _begun(incomplete, DEVICES)


def _or_files(context: click.Context, parameter: click.Parameter, incomplete: str, names) -> list[CompletionItem]:
    # Files come first: bash forgets what it was offered before them, and then offers them where nothing else fits.
    return [*files(context, parameter, incomplete), *_begun(incomplete, names)]


def _begun(incomplete: str, names) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
