"""The system packages that FFCV is built with: find them, install them by apt, or say how to.

FFCV is published as source and needs a C++ compiler and the headers of OpenCV 4, libturbojpeg and
Python; missing ones are the most frequent problem of its users.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tools.logged_run import Stop, last_lines, run

APT = Path(__file__).with_name("apt.txt").read_text(encoding="utf-8").split()
INSTALL = {
    "Debian/Ubuntu": f"sudo apt-get install --no-install-recommends {' '.join(APT)}",
    "Fedora": "sudo dnf install gcc-c++ opencv-devel turbojpeg-devel pkgconf-pkg-config",
    "conda": "conda install -c conda-forge cxx-compiler libopencv libjpeg-turbo pkg-config",
    "macOS": "brew install opencv jpeg-turbo pkg-config",
}
PYTHON_HEADER = "the headers of Python (Python.h)"
APT_OPTIONS = ["-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"]


def ensure(log: Path) -> None:
    """Install missing packages if that needs no password; else stop with a message."""
    absent = missing()
    if not absent:
        return
    administrator = _administrator()
    reason = "installing them needs root"
    if administrator is not None:
        packages = list(APT)
        if PYTHON_HEADER in absent:
            packages.append(f"python{_version()}-dev")
        reason = _apt(administrator, packages, log)
        absent = missing()
    if absent:
        raise Stop(explain(absent, reason))


def missing() -> list[str]:
    """The missing parts without which building FFCV fails."""
    compilers = [os.environ.get("CXX", "").split(" ")[0], "g++", "c++", "clang++"]
    absent = []
    if not any(shutil.which(name) for name in compilers if name):
        absent.append("a C++ compiler")
    if not shutil.which("pkg-config"):
        absent.append("pkg-config")
    else:
        if not (_known("opencv4") or _known("opencv")):
            absent.append("the headers of OpenCV")
        if not _known("libturbojpeg"):
            absent.append("the headers of libturbojpeg")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        absent.append(PYTHON_HEADER)
    return absent


def explain(absent: list[str], reason: str) -> str:
    """The message for a user who has to install the packages."""
    python = ""
    if PYTHON_HEADER in absent:
        python = f"; for Python.h also python{_version()}-dev (Debian) or python3-devel (Fedora)"
    lines = [f"FFCV is built from source and needs {', '.join(absent)} ({reason})."]
    lines += [f"Install with one of these, then repeat the command{python}:"]
    lines += [f"  {system:<14} {command}" for system, command in INSTALL.items()]
    lines += [
        "With a portable FFCV wheel in wheelhouse/ none of this is needed: see docs/install.md."
    ]
    return "\n".join(lines)


def ensure_venv_module(log: Path) -> None:
    """Install Python's `venv`, which Debian packages separately, or say how to."""
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        package = f"python{_version()}-venv"
        administrator = _administrator()
        if administrator is not None:
            _apt(administrator, [package], log)
        done = subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True)
        if done.returncode != 0:
            raise Stop(
                f"{sys.executable} cannot create virtual environments: it lacks ensurepip.\n"
                f"On Debian and Ubuntu: sudo apt-get install {package}; "
                "or use another interpreter with PYTHON=..."
            ) from None


def _apt(administrator: list[str], packages: list[str], log: Path) -> str:
    """Install by apt; the outcome in words, for the message if packages are still missing."""
    install = [*administrator, "apt-get", "install", *APT_OPTIONS, *packages]
    title = f"set-up: installing {', '.join(packages)} by apt, for building FFCV"
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    if run(title, install, log, quiet):
        return "apt has installed its packages"
    update = [*administrator, "apt-get", "update"]  # a new machine has no list or an old one
    if run("set-up: updating apt's package lists", update, log, quiet) and run(
        title, install, log, quiet
    ):
        return "apt has installed its packages"
    return f"apt-get failed: {' '.join(last_lines(log, 1))}"


def _administrator() -> list[str] | None:
    """The words before apt-get that run it as root; None without apt or a way to be root."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n", "--preserve-env=DEBIAN_FRONTEND,LC_ALL"]
    return None


def _known(library: str) -> bool:
    done = subprocess.run(["pkg-config", "--exists", library], capture_output=True)
    return done.returncode == 0


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"
