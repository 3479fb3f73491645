"""SciPy, Matplotlib and Jinja2 come with the extra `report`; whoever needs one asks here, and is told what to install."""

from __future__ import annotations

import importlib
from typing import Any

from labelsmooth.errors import MissingExtra

PACKAGES = {"scipy": "SciPy", "matplotlib": "Matplotlib", "jinja2": "Jinja2"}


def extra(module: str, purpose: str) -> Any:
    """Import a module of the extra `report`, or say which line installs it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(PACKAGES[module.partition(".")[0]], "report", purpose) from error
