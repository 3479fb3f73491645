"""Run the installed frameworks on tests/golden/batches.json and say how far they are from what is on record.

python scripts/record_frameworks.py              say it, and exit 1 where one has moved
python scripts/record_frameworks.py --record     say it, then write tests/golden/NAME.json where one has moved or is new
python scripts/record_frameworks.py timm keras   only these

A number on record has moved where it is further away than rounding explains, or where a framework now refuses a batch, or
takes one, that it did not. What has not moved is not written, so that versions change together with numbers, or by removing
a file and recording it anew.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from labelsmooth.maths.conventions import convention_named
from labelsmooth.maths.trace import prepare
from labelsmooth.parity.frameworks import PEERS, Peer, chosen, install_line
from labelsmooth.parity.judge import TOLERANCE

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
PARTS = ("row_loss", "loss", "gradient")


def path(peer: Peer) -> Path:
    """Where the numbers of a framework stand."""
    return GOLDEN / f"{peer.name.replace(' ', '_')}.json"


def measure(peer: Peer) -> dict[str, Any]:
    """Run a framework on every batch; a batch that it refuses keeps the reason."""
    results: dict[str, Any] = {}
    for name, batch in json.loads((GOLDEN / "batches.json").read_text(encoding="utf-8")).items():
        if np.ndim(batch["labels"]) == 2:
            batch["labels"] = np.asarray(batch["labels"], np.float64)
        got = peer.ask(prepare(**batch))
        if got.reason:
            results[name] = {"refused": got.reason}
            continue
        parts = {part: getattr(got, part) for part in PARTS}
        results[name] = {part: None if x is None else _plain(np.asarray(x).tolist()) for part, x in parts.items()}
    owners = packages_distributions()
    packages = sorted({owner.replace("_", "-") for module in peer.needs for owner in owners[module]})
    return {
        "framework": peer.name,
        "convention": convention_named(peer.row).full_name,
        "dtype": peer.dtypes[0],
        "versions": {"python": python_version(), **{p: version(p).partition("+")[0] for p in packages}},
        "results": results,
    }


def _plain(x: Any) -> Any:
    """JSON has no infinity, and some frameworks do: they are written as NumPy reads them, in quotes."""
    if isinstance(x, list):
        return [_plain(one) for one in x]
    return x if np.isfinite(x) else str(x)


def moved(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    """What is not as it was, a line each."""
    limit, out = TOLERANCE[now["dtype"]], []
    for batch in sorted(now["results"].keys() | then["results"].keys()):
        new, old = now["results"].get(batch, {}), then["results"].get(batch, {})
        if new.keys() != old.keys() or "refused" in new:
            if new != old:
                out.append(f"{batch}: {_short(old)} is now {_short(new)}")
            continue
        gaps = {part: _gap(new[part], old[part]) for part in PARTS}
        out += [f"{batch}: {part} is {gap:.1e} away" for part, gap in gaps.items() if gap > limit]
    return out


def _short(result: dict[str, Any]) -> str:
    return f"refused ({result['refused']})" if "refused" in result else "computed" if result else "absent"


def _gap(new: Any, old: Any) -> float:
    if new is None or old is None:
        return 0.0 if new is old else float("inf")
    x, y = np.asarray(new, np.float64), np.asarray(old, np.float64)
    if x.shape != y.shape:
        return float("inf")
    with np.errstate(invalid="ignore"):
        gap = np.where(x == y, 0.0, np.abs(x - y) / np.maximum(1.0, np.abs(y)))
    return float("inf") if np.any(np.isnan(gap)) else float(np.max(gap))


def write(record: dict[str, Any], target: Path) -> None:
    """One line a batch, so that a difference can be read."""
    head = [f" {json.dumps(key)}: {json.dumps(record[key])}" for key in record if key != "results"]
    lines = [f"  {json.dumps(k, ensure_ascii=False)}: {json.dumps(v)}" for k, v in record["results"].items()]
    body = ",\n".join([*head, ' "results": {\n' + ",\n".join(lines) + "\n }"])
    target.write_text("{\n" + body + "\n}\n", encoding="utf-8")


def main() -> int:
    """Measure, say, and write where asked."""
    names = [word for word in sys.argv[1:] if word != "--record"]
    wanted, worst = chosen(names or None), 0
    for peer in () if names else PEERS.values():
        if peer.missing:
            sys.stdout.write(f"{peer.name}: not installed: {install_line(peer)}\n")
    for peer in wanted:
        now, target = measure(peer), path(peer)
        known = target.is_file()
        faults = moved(now, json.loads(target.read_text(encoding="utf-8"))) if known else ["nothing is on record"]
        asked = sum("refused" not in result for result in now["results"].values())
        verdict = "; ".join(faults) or "as recorded"
        sys.stdout.write(f"{peer.name} {peer.version}, {asked} batches: {verdict}\n")
        if faults and "--record" in sys.argv:
            write(now, target)
            sys.stdout.write(f"  written: {target.name}\n")
        elif faults:
            worst = 1
    return worst


if __name__ == "__main__":
    sys.exit(main())
