"""What a new machine relies on: versions, system packages, and a set-up that repairs itself."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import runpy
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import engine
from tests.support.paths import ROOT
from tests.support.processes import run, succeed
from tools import build_deps, ffcv_wheel, logged_run, setup_venv, wheelhouse

PLATFORM = re.sub(r"[-.]", "_", sysconfig.get_platform())
FFCV_NEEDS = ("terminaltables", "pytorch-pfn-extras", "fastargs", "assertpy", "tqdm", "psutil")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


@functools.cache
def declared() -> dict[str, Any]:
    """The arguments that setup.py passes to setuptools."""
    with mock.patch("setuptools.setup") as setup:
        runpy.run_path(str(ROOT / "setup.py"))
    keywords = setup.call_args.kwargs
    assert isinstance(keywords, dict)
    return keywords


def pins(python: str) -> dict[str, Requirement]:
    """The entries of constraints.txt for a Python version."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    entries = [Requirement(line) for line in lines if line and not line.startswith("#")]
    environment = {"python_version": python}
    valid = [e for e in entries if e.marker is None or e.marker.evaluate(environment)]
    names = [canonicalize_name(entry.name) for entry in valid]
    assert len(set(names)) == len(names), "a package is pinned twice"
    return dict(zip(names, valid, strict=True))


def version_of(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_pinned_inside_its_declared_range(python: str) -> None:
    setup = declared()
    extras = [text for extra in setup["extras_require"].values() for text in extra]
    pinned = pins(python)
    for text in [*setup["install_requires"], *extras]:
        requirement = Requirement(text)
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version_of(pin)), f"{text} excludes {pin}"


def test_undeclared_dependencies_of_ffcv_and_fastargs_are_declared() -> None:
    needed = [Requirement(text) for text in declared()["install_requires"]]
    names = {entry.name for entry in needed}
    assert {"terminaltables", "pyyaml", "pillow", "setuptools"} <= names
    (setuptools,) = (entry for entry in needed if entry.name == "setuptools")
    assert setuptools.marker is not None
    assert setuptools.marker.evaluate({"python_version": "3.12"})


def test_the_pins_of_the_build_fit_pyproject() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (build,) = re.findall(r"^requires = (.+)$", text, re.MULTILINE)
    for text in ast.literal_eval(build):
        requirement = Requirement(text)
        for python in PYTHONS:
            assert requirement.specifier.contains(version_of(pins(python)[requirement.name]))


def test_the_version_is_written_in_one_place() -> None:
    assert declared()["version"] == engine.__version__
    others = (ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "constraints.txt")
    assert not [p for p in others if f'"{engine.__version__}"' in p.read_text(encoding="utf-8")]


def test_every_supported_python_has_a_classifier() -> None:
    setup = declared()
    classified = {c.rsplit(" ")[-1] for c in setup["classifiers"] if "Python :: 3." in c}
    assert classified == set(PYTHONS)
    assert setup["python_requires"] == ">=3.10,<3.14"


@pytest.mark.parametrize("entry", declared()["entry_points"]["console_scripts"])
def test_a_console_command_names_an_existing_function(entry: str) -> None:
    module, _, function = entry.partition(" = ")[2].partition(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_package_is_shipped_with_its_types() -> None:
    setup = declared()
    for folder in ("engine", "writers", "benchmarks"):
        modules = {path.parent for path in (ROOT / folder).rglob("*.py")}
        names = {str(path.relative_to(ROOT)).replace("/", ".") for path in modules}
        assert names <= set(setup["packages"]), "a folder of modules lacks its __init__.py"
        assert (ROOT / folder / "py.typed").exists()
        assert "py.typed" in setup["package_data"][folder]


def test_the_reports_templates_are_shipped() -> None:
    patterns = declared()["package_data"]["benchmarks"]
    shipped = {path for pattern in patterns for path in (ROOT / "benchmarks").glob(pattern)}
    assert set((ROOT / "benchmarks" / "report" / "templates").iterdir()) <= shipped


def test_setup_image_message_and_guide_name_the_same_system_packages() -> None:
    assert "$(cat tools/apt.txt)" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert set(build_deps.APT) == {"g++", "libopencv-dev", "libturbojpeg0-dev", "pkg-config"}
    guide = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    message = build_deps.explain(["a C++ compiler"], "installing them needs root")
    for system, command in build_deps.INSTALL.items():
        assert command in guide
        assert re.search(rf"^  {system} +{re.escape(command)}$", message, re.MULTILINE)


def test_the_conda_environment_has_the_same_packages() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    *system, pip = environment["dependencies"]
    assert set(build_deps.INSTALL["conda"].split()[4:]) <= set(system)
    assert f"pip={version_of(pins('3.11')['pip'])}" in system
    assert pip["pip"] == ["--constraint constraints.txt", "--editable .[dev]"]


def test_make_lists_every_target() -> None:
    listing = succeed("make")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in phony.split():
        assert re.search(rf"^  make {target} +\S", listing, re.MULTILINE), target


def test_tools_run_on_a_bare_interpreter() -> None:
    for path in (ROOT / "tools").glob("*.py"):
        if path.stem in ("roundtrip", "fidelity"):  # they run in a finished environment
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in filter(None, names):
                top = name.partition(".")[0]
                assert top == "tools" or top in sys.stdlib_module_names, f"{path.name}: {name}"


def dummy_wheel(folder: Path, tag: str) -> None:
    """An empty FFCV wheel for one kind of interpreter and machine."""
    info = "ffcv-1.0.2.dist-info"
    with zipfile.ZipFile(folder / f"ffcv-1.0.2-{tag}.whl", "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: ffcv\nVersion: 1.0.2\n")
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize(
    ("tag", "fits"),
    [(f"cp310-abi3-{PLATFORM}", True), (f"cp27-cp27m-{PLATFORM}", False), (None, False)],
)
def test_a_wheel_is_used_only_if_it_fits_this_interpreter_and_machine(
    tmp_path: Path, tag: str | None, fits: bool
) -> None:
    if tag:
        dummy_wheel(tmp_path, tag)
    assert setup_venv.wheel_fits(sys.executable, tmp_path) is fits


def test_an_unknown_setup_script_of_ffcv_is_refused() -> None:
    known = "\n".join(ffcv_wheel.CHANGES)
    changed = ffcv_wheel.change(known)
    assert "opencv-python-headless" in changed
    assert "'opencv-python'" not in changed
    for old in ffcv_wheel.CHANGES:
        with pytest.raises(logged_run.Stop, match="not the known one"):
            ffcv_wheel.change(known.replace(old, ""))


def find_python(choice: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the search for an interpreter."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHON": str(choice)}
    result = run("sh", ROOT / "tools" / "find_python.sh", environment=environment)
    return result.returncode, result.stdout, result.stderr


def test_the_interpreter_named_by_the_user_is_taken() -> None:
    assert find_python(sys.executable) == (0, f"{sys.executable}\n", "")


@pytest.mark.parametrize("choice", ["/bin/false", "python2.6", "/no/such/python"])
def test_an_unusable_interpreter_is_refused_in_one_line(choice: str) -> None:
    code, stdout, stderr = find_python(choice)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"error: PYTHON={choice} is ")
    assert stderr.count("\n") == 1


def a_venv(folder: Path) -> Path:
    """The parts of an environment that the set-up looks at."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "pyvenv.cfg").touch()
    return folder


def test_only_a_finished_environment_is_ready(tmp_path: Path) -> None:
    venv = a_venv(tmp_path / "venv")
    assert not setup_venv.is_ready(venv)
    (venv / setup_venv.READY).write_text(setup_venv.requirements_digest(), encoding="utf-8")
    assert setup_venv.is_ready(venv)
    assert setup_venv.main([str(venv)]) == 0  # without changing anything
    (venv / "bin" / "python").unlink()  # as when the interpreter was uninstalled
    assert not setup_venv.is_ready(venv)


def test_changed_requirements_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = setup_venv.requirements_digest()
    other = tmp_path / "constraints.txt"
    other.write_text(setup_venv.CONSTRAINTS.read_text() + "extra==1.0\n")
    monkeypatch.setattr(setup_venv, "CONSTRAINTS", other)
    assert setup_venv.requirements_digest() != before


def test_a_folder_that_is_no_environment_is_not_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("ten years of work")
    assert setup_venv.main(["--anew", str(tmp_path)]) == 2
    assert "is not a virtual environment" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_impossible_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert setup_venv.main([str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/file/below: Not a directory\n"


def test_a_set_up_without_network_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    nothing = ["--target", str(tmp_path / "target"), "ffcv-engine-no-such-package"]
    with pytest.raises(logged_run.Stop, match="the package index cannot be reached"):
        setup_venv._pip(sys.executable, "trying", nothing, tmp_path / "log")


def test_the_output_of_a_failed_command_is_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert not logged_run.run("trying", [sys.executable, "-c", "exit('no such luck')"], log)
    assert logged_run.last_lines(log, 3) == ["no such luck"]
    assert logged_run.run("again", [sys.executable, "-c", "print(1)"], log)


def test_missing_headers_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # neither compiler nor pkg-config nor apt-get
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(logged_run.Stop) as stopped:
        build_deps.ensure(tmp_path / "log")
    message = str(stopped.value)
    assert "a C++ compiler, pkg-config" in message
    assert "libturbojpeg0-dev" in message


def test_the_wheelhouse_has_all_that_the_project_and_ffcv_need_but_torch() -> None:
    needed = [Requirement(text) for text in declared()["install_requires"]]
    names = {entry.name for entry in needed} | {"opencv-python-headless", *FFCV_NEEDS}
    given = {*wheelhouse.SMALL, *wheelhouse.USUAL, *wheelhouse.WITH_TORCH, "ffcv"}
    assert {canonicalize_name(name) for name in names} <= given
    assert set(wheelhouse.SMALL) | set(wheelhouse.USUAL) <= pins("3.12").keys()


def test_new_wheels_replace_those_of_the_same_package_and_none_that_fits_one_python_is_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tag = ["py3-none-any"]

    def build(title: str, command: list[str], log: Path) -> None:
        if "wheel" in command:
            folder = Path(command[command.index("--wheel-dir") + 1])
            folder.mkdir()
            for name in command[command.index("--wheel-dir") + 2 :]:
                (folder / f"{name.replace('-', '_')}-2.0-{tag[0]}.whl").write_text(name)

    monkeypatch.setattr(wheelhouse, "require", build)
    monkeypatch.setattr(wheelhouse, "_python", lambda folder, log: "python")
    for kept in ("fastargs-1.2.0", "pytorch_pfn_extras-0.1", "ffcv-1.0.2"):
        (tmp_path / f"{kept}-py3-none-any.whl").touch()
    wheelhouse.gather(wheelhouse.SMALL, tmp_path)
    assert len(list(tmp_path.iterdir())) == len(wheelhouse.SMALL) + 1
    assert (tmp_path / "pytorch_pfn_extras-2.0-py3-none-any.whl").exists()
    tag[0] = "cp312-cp312-linux_x86_64"
    with pytest.raises(logged_run.Stop, match="expected a wheel for every Python 3"):
        wheelhouse.gather(wheelhouse.SMALL, tmp_path)
