"""The native kernel as it is built: by every compiler of this machine, and what an install does where it cannot be built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "labelsmooth" / "losses" / "_cpu.cpp"
X86 = {"portable": [], "avx2": ["-mavx2", "-mfma", "-mf16c"],
       "avx512": ["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq"]}  # fmt: skip
# One compiler is certain; the others are tried where they are.
COMPILERS = [name for name in ("g++", "clang++", "aarch64-linux-gnu-g++") if shutil.which(name)]
BUILDS = [(name, path) for name in COMPILERS for path in (X86 if "aarch64" not in name else {"portable": []})]


@pytest.mark.slow
@pytest.mark.parametrize(("compiler", "path"), BUILDS)
def test_it_compiles_without_a_warning(compiler: str, path: str, tmp_path: Path) -> None:
    flags = ["-std=c++17", "-O1", "-fPIC", "-ffp-contract=fast", "-Wall", "-Wextra", "-Wno-psabi", "-Werror"]
    flags += ["-Wno-maybe-uninitialized", "-Wno-uninitialized"] if compiler != "clang++" else []
    flags += X86[path] + ([f"-DLABELSMOOTH_PATH={path}"] if path != "portable" else [])
    command = [compiler, *flags, "-c", str(SOURCE), "-o", str(tmp_path / "kernel.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _wheel(folder: Path, *, plant: str = "", **environment: str) -> tuple[int, str, list[str]]:
    """Build a wheel of a copy of this repository. Returns the exit code, what was said, and the files of the wheel."""
    tree = folder / "repository"
    tree.mkdir()
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "src", tree / "src", ignore=shutil.ignore_patterns("*.native", "__pycache__"))
    kernel = tree / SOURCE.relative_to(ROOT)
    kernel.write_text(kernel.read_text(encoding="utf-8") + plant, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "wheel",
        "--no-deps",
        "-w",
        str(folder),
        str(tree),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)
    names = [name for wheel in folder.glob("*.whl") for name in zipfile.ZipFile(wheel).namelist()]
    return done.returncode, done.stdout + done.stderr, names


@pytest.mark.slow
def test_an_install_does_not_hide_a_compile_error(tmp_path: Path) -> None:
    code, said, names = _wheel(tmp_path, plant="\nthis is no C++;\n")
    assert code != 0
    assert "this is no C++" in said
    assert names == []


@pytest.mark.slow
def test_without_a_compiler_it_installs_without_the_kernel(tmp_path: Path) -> None:
    code, said, names = _wheel(tmp_path, CXX="/no/such/compiler")
    assert code == 0, said
    assert "labelsmooth/losses/_cpu.py" in names
    assert not [name for name in names if name.endswith(".native")]
