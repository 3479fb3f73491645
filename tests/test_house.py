"""The map of the house and its lock: who may import whom, which library has which door, and how large a room may grow.

Every law is a function that reads a tree and returns its trespasses, one line each, so that
`test_the_tests_bite.py` can hand it a small tree with a planted trespass and see it caught. The laws read source with
`ast` and import nothing, except for the few that must be tried in a process of their own.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelsmooth"
TESTS = ROOT / "tests"

# The map -------------------------------------------------------------------------------------------------------------

# Room -> what it may import beside itself. "maths" allows the room and all in it, "maths.conventions" that file alone.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "maths": {"errors"},
    "files": {"errors"},
    "data": {"errors", "files"},
    "losses": {"errors", "maths.conventions"},
    "workbook": {"errors", "files", "maths"},
    "page": {"errors", "maths"},
    "parity": {"errors", "files", "data", "maths", "losses", "workbook"},
    "calibration": {"errors", "files", "data", "losses"},
    "cli": {"errors", "files", "data", "maths", "losses", "workbook", "page", "parity", "calibration", "__init__"},
    "__init__": {"errors", "files", "data", "maths", "losses", "workbook", "page", "parity", "calibration"},
    "__main__": {"cli"},
}
# Private files at the top that belong to a room of one file.
ANNEXES = {
    **dict.fromkeys(
        ["_answers", "_arguments", "_books", "_calibrating", "_diagnosing", "_paging", "_studying", "_terminal"], "cli"
    ),
    "_version": "errors",
}


@dataclass(frozen=True)
class Door:
    """Where a library may be imported: anywhere in the file, or inside functions only."""

    anywhere: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


FILES = ("files/_archives.py",)
FRAMEWORK = Door(inside=("parity/frameworks.py", "parity/_frameworks_*.py"))
DOORS: dict[str, Door] = {
    "numpy": Door(anywhere=("*",)),
    "torch": Door(anywhere=("losses/*",), inside=("parity/*", "calibration/*", *FILES, "cli.py")),
    "triton": Door(anywhere=("losses/_triton*.py",), inside=("losses/*",)),
    "xlsxwriter": Door(anywhere=("workbook/write*.py",)),
    "openpyxl": Door(anywhere=("workbook/read.py",), inside=FILES),
    "ironcalc": Door(inside=("workbook/recalc.py", "workbook/_engines.py")),
    "formulon": Door(inside=("workbook/recalc.py", "workbook/_engines.py")),
    "wasmtime": Door(inside=("workbook/recalc.py", "workbook/_engines.py")),
    "click": Door(
        anywhere=(
            "cli.py",
            "_arguments.py",
            "_books.py",
            "_calibrating.py",
            "_diagnosing.py",
            "_paging.py",
            "_studying.py",
        )
    ),
    "rich": Door(anywhere=("_terminal.py",)),
    "safetensors": Door(inside=FILES),
    "pyarrow": Door(inside=FILES),
    **dict.fromkeys(["jinja2", "matplotlib", "scipy"], Door(inside=("calibration/*",))),
    **dict.fromkeys(["fastai", "jax", "keras", "liger_kernel", "optax", "timm", "transformers"], FRAMEWORK),
    "babel": Door(inside=("calibration/_names.py",)),
    "sklearn": Door(inside=(*FRAMEWORK.inside, "calibration/datasets.py")),
}

# Test files that belong to no single module.
SPECIAL = {
    "benchmarks",
    "docs",
    "examples",
    "house",
    "laws",
    "packaging",
    "the_tests_bite",
}

LONGEST_FILE = 300
LONGEST_FUNCTION = 45
KERNELS = {"losses/_triton_kernel.py"}  # alone in their file, and as long as they must be

# Written with groups so that this file does not trespass against itself.
MACHINE_PATH = re.compile(r"(?<![\w.)}\]>*~-])/(?:tmp|work|root|home)(?![\w-])")
UNFINISHED = re.compile(r"\b(?:TO(?:DO)|FIX(?:ME))\b")
INDEX_HOST = re.compile(r"(?:download\.pytorch\.org/(?:whl)|pypi\.org/(?:simple)|pythonhosted\.org)")

# Numbers are compared by agree.py alone.
OTHER_COMPARISONS = {
    "allclose",
    "approx",
    "array_equal",
    "assert_allclose",
    "assert_almost_equal",
    "assert_array_almost_equal",
    "assert_array_equal",
    "assert_close",
    "assertAlmostEqual",
    "isclose",
}


# Reading a tree ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported name: where it stands and what it reaches."""

    file: str  # relative to the package
    line: int
    target: str  # "torch.nn.functional" or "labelsmooth.maths.steps"
    at_top: bool  # runs when the module is imported
    typing: bool  # under `if TYPE_CHECKING:`, never runs

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.target}"


def imports(package: Path) -> Iterator[Import]:
    """Give every import of every module of a package, relative ones resolved."""
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package)
        here = [package.name, *file.parent.parts]
        for node, at_top, typing in _statements(ast.parse(path.read_text(encoding="utf-8")), at_top=True):
            for target in _targets(node, here, package):
                yield Import(file.as_posix(), node.lineno, target, at_top, typing)


def _statements(
    node: ast.AST, *, at_top: bool, typing: bool = False
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_top, typing
        elif isinstance(child, ast.Call) and (name := _imported_by_name(child)):
            yield ast.Import([ast.alias(name)], lineno=child.lineno), at_top, typing
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _statements(child, at_top=False, typing=typing)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for part in child.body:
                yield from _statements(ast.Module([part], []), at_top=at_top, typing=True)
            for part in child.orelse:
                yield from _statements(ast.Module([part], []), at_top=at_top, typing=typing)
        else:
            yield from _statements(child, at_top=at_top, typing=typing)


def _imported_by_name(call: ast.Call) -> str | None:
    """`import_module("torch")` is an import too."""
    if not ast.unparse(call.func).endswith(("import_module", "__import__")) or not call.args:
        return None
    name = call.args[0]
    if isinstance(name, ast.Constant) and isinstance(name.value, str) and not name.value.startswith("."):
        return name.value
    return None


def _targets(node: ast.Import | ast.ImportFrom, here: list[str], package: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = [] if node.level == 0 else here[: len(here) - node.level + 1]
    module = ".".join([*base, *([node.module] if node.module else [])])
    return [f"{module}.{alias.name}" if _is_module(module, alias.name, package) else module for alias in node.names]


def _is_module(module: str, name: str, package: Path) -> bool:
    """`from labelsmooth.maths import steps` reaches the file steps.py; `import trace` from there does not."""
    if module.split(".", maxsplit=1)[0] != package.name:
        return False
    folder = package.joinpath(*module.split(".")[1:])
    return (folder / f"{name}.py").is_file() or (folder / name).is_dir()


def _room(module: str) -> str:
    """Name the room of a dotted module below the package."""
    first = module.split(".", maxsplit=1)[0] or "__init__"
    return ANNEXES.get(first, first)


def _module(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


# The laws ------------------------------------------------------------------------------------------------------------


def rooms_out_of_order(package: Path) -> list[str]:
    """Every import between rooms is drawn in ROOMS."""
    found = []
    for one in imports(package):
        head, _, target = one.target.partition(".")
        if head != package.name:
            continue
        room = _room(_module(one.file))
        if room not in ROOMS:
            found.append(f"{one.file}: the room {room!r} is not on the map (tests/test_house.py)")
            continue
        reached = target or "__init__"
        may = {room, *ROOMS[room]}
        if _room(reached) not in may and not any(reached == m or reached.startswith(f"{m}.") for m in may):
            found.append(f"{one}: {room} may import {', '.join(sorted(ROOMS[room])) or 'nothing'}")
    return found


def wrong_doors(package: Path) -> list[str]:
    """Every library is imported where DOORS says, and nowhere else."""
    found = []
    for one in imports(package):
        library = one.target.split(".")[0]
        if library == package.name or library in sys.stdlib_module_names:
            continue
        if library not in DOORS:
            found.append(f"{one}: {library} has no door on the map (tests/test_house.py)")
            continue
        door = DOORS[library]
        anywhere = any(fnmatch(one.file, place) for place in door.anywhere)
        inside = any(fnmatch(one.file, place) for place in door.inside)
        if not anywhere and not (inside and (one.typing or not one.at_top)):
            where = (
                f"inside functions of {', '.join(door.inside)}" if inside else ", ".join(door.anywhere + door.inside)
            )
            found.append(f"{one}: the door of {library} is {where}")
    return found


def too_long(package: Path) -> list[str]:
    """Files and functions stay short enough to be read at once; a docstring does not count against its function."""
    found = []
    for path in sorted(package.rglob("*.py")):
        file, text = path.relative_to(package).as_posix(), path.read_text(encoding="utf-8")
        if file in KERNELS:
            continue
        if (lines := len(text.splitlines())) > LONGEST_FILE:
            found.append(f"{file}: {lines} lines, at most {LONGEST_FILE}")
        found += [
            f"{file}:{node.lineno} {node.name}: {lines} lines, at most {LONGEST_FUNCTION}"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := _length(node)) > LONGEST_FUNCTION
        ]
    return found


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = _last(node) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= _last(first) - first.lineno + 1
    return lines


def _last(node: ast.stmt) -> int:
    return node.end_lineno or node.lineno


def misnamed_tests(tests: Path, package: Path) -> list[str]:
    """A test file is named after the module it tests, with a suffix if there are several."""
    files, rooms = set(), set()
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts[-1] == "__init__":
            rooms.add("_".join(parts[:-1]))
        else:
            files.add("_".join(part.strip("_") for part in parts))
    found = []
    for path in sorted(tests.rglob("test_*.py")):
        name = path.stem.removeprefix("test_")
        known = name in SPECIAL | files | rooms or any(name.startswith(f"{file}_") for file in files)
        if not known:
            found.append(f"{path.name} names no module of {package.name}")
    return found


def comparisons_elsewhere(tests: Path) -> list[str]:
    """Only agree.py compares numbers, so that there is one meaning of "the same"."""
    found = []
    for path in sorted(tests.rglob("*.py")):
        if path.name == "agree.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute | ast.Name):
                name = node.attr if isinstance(node, ast.Attribute) else node.id
                if name in OTHER_COMPARISONS:
                    found.append(f"{path.name}:{node.lineno} {name}: use agree() from tests/agree.py")
    return found


def unwelcome_words(files: list[Path], root: Path) -> list[str]:
    """No path of one machine, no unfinished business and no package index in any text file."""
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        for number, line in enumerate(text.splitlines(), start=1):
            found += [
                f"{path.relative_to(root)}:{number} {what}: {match.group()}"
                for what, law in (("machine path", MACHINE_PATH), ("unfinished", UNFINISHED), ("index", INDEX_HOST))
                if (match := law.search(line))
            ]
    return found


def own_files(root: Path) -> list[Path]:
    """Give the files that git tracks or would track; outside a checkout, all of them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        files = [root / name for name in listed.stdout.decode().split("\0") if name]
    else:
        hidden = {".venv", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "out"}
        files = [path for path in root.rglob("*") if not hidden & set(path.relative_to(root).parts)]
    return sorted(path for path in files if path.is_file())


def unpinned(pyproject: Path, constraints: Path) -> list[str]:
    """Every package that pyproject.toml asks for is pinned once, exactly, by name alone."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    found, pins = [], set()
    for line in constraints.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9a-z.]*", line):
            found.append(f"constraints.txt: {line!r} is not name==version")
        name = _normal(line.partition("==")[0])
        if name in pins:
            found.append(f"constraints.txt: {name} is pinned twice")
        pins.add(name)
    names = {_normal(re.split(r"[^A-Za-z0-9._-]", one)[0]) for one in asked} - {_normal(project["name"])}
    return found + [f"constraints.txt does not pin {name}" for name in sorted(names - pins)]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# An editable install may answer for the package before the search path is asked, and a test that makes a package of its
# own would then be given ours.
ASK_THE_PATH = "import sys; sys.meta_path[:] = [f for f in sys.meta_path if '_editable' not in type(f).__module__]"


def loaded_by(module: str, source: Path) -> set[str]:
    """Import one module in a fresh process and give the names of all top-level packages that came with it."""
    code = f"{ASK_THE_PATH}\nimport json, {module}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def undocumented(names: list[str], things: dict[str, object]) -> list[str]:
    """A public function or class says what it is and shows how it is used; an exception has nothing to show."""
    found = []
    for name in names:
        thing = things[name]
        if not callable(thing):
            continue
        doc = thing.__doc__ or ""
        is_error = isinstance(thing, type) and issubclass(thing, BaseException)
        if not doc.strip():
            found.append(f"{name} has no docstring")
        elif not is_error and ">>> " not in doc:
            found.append(f"{name} has no example in its docstring")
    return found


def left_out_of_the_wheel(root: Path, out: Path) -> list[str]:
    """Build the wheel; whatever stands in the package, data and kernels included, is in it."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), "."],
        cwd=root,
        capture_output=True,
        check=True,
    )
    (wheel,) = out.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = root / "src"
    files = [path.relative_to(source).as_posix() for path in own_files(root) if path.is_relative_to(source)]
    return [f"{file} is not in {wheel.name}" for file in files if file not in packed]


# The laws hold -------------------------------------------------------------------------------------------------------


def test_the_laws_read_the_house_and_not_an_empty_folder() -> None:
    seen = {_room(_module(one.file)) for one in imports(SOURCE)}
    assert {"maths", "losses", "workbook", "parity", "files", "cli"} <= seen


def test_every_import_between_rooms_is_drawn_on_the_map() -> None:
    assert rooms_out_of_order(SOURCE) == []


def test_every_library_is_imported_through_its_door() -> None:
    assert wrong_doors(SOURCE) == []


def test_files_and_functions_are_short_enough_to_read() -> None:
    assert too_long(SOURCE) == []


def test_every_test_file_is_named_after_a_module() -> None:
    assert misnamed_tests(TESTS, SOURCE) == []


def test_numbers_are_compared_in_one_place() -> None:
    assert comparisons_elsewhere(TESTS) == []


def test_text_files_hold_no_machine_path_and_no_unfinished_business() -> None:
    files = own_files(ROOT)
    assert Path(__file__).resolve() in files
    assert unwelcome_words(files, ROOT) == []


def test_constraints_pin_every_dependency() -> None:
    assert unpinned(ROOT / "pyproject.toml", ROOT / "constraints.txt") == []


@pytest.mark.slow
def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    assert left_out_of_the_wheel(ROOT, tmp_path) == []


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("labelsmooth", {"torch", "xlsxwriter", "openpyxl", "ironcalc", "click", "rich"}),
        ("labelsmooth.maths", {"torch", "xlsxwriter", "openpyxl", "ironcalc", "click", "rich"}),
        ("labelsmooth.files", {"torch", "xlsxwriter", "openpyxl", "safetensors", "pyarrow", "click", "rich"}),
        ("labelsmooth.workbook", {"torch", "ironcalc", "formulon", "wasmtime", "click", "rich"}),
        ("labelsmooth.parity", {"torch", "jax", "tensorflow", "keras", "transformers", "click", "rich"}),
        ("labelsmooth.cli", {"torch", "xlsxwriter", "openpyxl", "ironcalc", "rich"}),
    ],
)
def test_importing_a_module_loads_nothing_slow(module: str, unwanted: set[str]) -> None:
    assert loaded_by(module, ROOT / "src") & unwanted == set()


def test_every_public_name_is_documented_with_an_example() -> None:
    import labelsmooth

    if importlib.util.find_spec("torch") is None:
        pytest.skip("could not import 'torch', which some public names need")
    names = list(labelsmooth.__all__)
    assert len(names) == len(set(names))
    assert undocumented(names, {name: getattr(labelsmooth, name) for name in names}) == []


def test_the_bare_make_lists_every_command() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in ("demo", "check", "test", "bench", "bench-gpu", "frameworks", "golden", "clean"):
        assert f"make {command} " in listed
        assert re.search(rf"^{command}:", rules, re.MULTILINE)
