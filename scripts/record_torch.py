"""Record PyTorch's numbers for the shipped examples, so that the demo can compare where PyTorch is not installed.

python scripts/record_torch.py            write src/labelsmooth/data/recorded.json
python scripts/record_torch.py --check    say whether the file still is what PyTorch says (exit 1 if not)
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from labelsmooth.data import path
from labelsmooth.parity.compare import torch_rows
from labelsmooth.parity.demo import EXAMPLES, RECORDED, example

TOLERANCE = 1e-6  # float32 rows differ in the last digit between machines


def record() -> dict[str, Any]:
    """Run PyTorch on every example."""
    out: dict[str, Any] = {"examples": {}}
    for name in EXAMPLES:
        rows = asdict(torch_rows(example(name)))
        out |= {"torch": rows.pop("version"), "how": rows.pop("how")}
        out["examples"][name] = {
            key: value.tolist() if hasattr(value, "tolist") else value for key, value in rows.items()
        }
    return out


def main() -> int:
    """Write or check the file."""
    target, now = Path(str(path("digits.csv"))).with_name(RECORDED), record()
    if "--check" not in sys.argv:
        target.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
        return 0
    then = json.loads(target.read_text(encoding="utf-8"))
    worst = max(
        float(np.max(np.abs(np.array(now["examples"][name][key]) - np.array(then["examples"][name][key]))))
        for name in EXAMPLES
        for key in ("label_loss", "prior_loss", "row_loss", "row_loss_single")
    )
    sys.stdout.write(f"largest difference to the recorded numbers: {worst:.1e}\n")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
