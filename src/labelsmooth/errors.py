"""The exceptions of labelsmooth.

    LabelsmoothError                 something labelsmooth itself has to say; the command line prints it as one line
    ├── InputError (ValueError)      a file or value that cannot be used: what came, what was expected, what to do
    │   └── WorkbookError            the same inside an .xlsx; the message says `sheet!cell` where there is one
    ├── EngineError                  a spreadsheet engine is missing, failed, or did not recalculate
    └── MissingExtra (ImportError)   an optional dependency is needed: the message holds the line that installs it

A wrong argument to a function is a plain `ValueError` or `TypeError`; these classes exist so that the command line can tell
a message meant for the user from a fault of ours, which keeps its traceback.
"""

from __future__ import annotations


class LabelsmoothError(Exception):
    """Base of every error whose message is written for the user."""


class InputError(LabelsmoothError, ValueError):
    """A file or a value that cannot be used."""


class WorkbookError(InputError):
    """A fault in an .xlsx file, named by sheet and cell where there is one."""


class EngineError(LabelsmoothError):
    """A spreadsheet engine is missing, crashed, or handed back numbers that it did not calculate."""


class MissingExtra(LabelsmoothError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}: pip install 'labelsmooth[{extra}]'")
