"""Data that ships with the app, found through `path`; the app never asks for the current folder."""

from pathlib import Path

_ROOT = Path(__file__).resolve().parent


def path(*parts: str) -> Path:
    """The file or folder of that name below resources/; it need not exist."""
    return _ROOT.joinpath(*parts)
