"""Write the reports in examples/: what `labelsmooth calibrate` says of the two shipped networks on photographs of clothes.

python scripts/make_reports.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path

from labelsmooth.calibration.calibrate import Given, calibrate
from labelsmooth.calibration.report import write_report
from labelsmooth.data import path
from labelsmooth.files import open_stream

FOLDER = Path(__file__).parent.parent / "examples"
REPORTS = {"calibration_report": "fashion_mlp_eps00", "calibration_report_smoothed": "fashion_mlp_eps01"}


def main(folder: Path = FOLDER) -> None:
    """Write a report of each network, its temperature fitted on its validation split."""
    for name, run in REPORTS.items():
        rows, held = open_stream(path(f"{run}.npz")), open_stream(path(f"{run}_validation.npz"))
        write_report(calibrate([Given(rows, held, name=f"{run}.npz")]), folder / f"{name}.html", force=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
