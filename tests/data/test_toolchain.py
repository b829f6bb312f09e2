"""What a machine lacks for Triton is said in one line, before any work is begun."""

from __future__ import annotations

import shutil
import sysconfig
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

import triton
from triton.backends.nvidia import driver as nvidia
from triton.runtime import build

from engine.config.schema import Runtime
from engine.data.augment import gpu, toolchain
from engine.errors import UserError
from engine.step import device

COMPILER, HEADERS = "a C compiler (gcc, clang, or named by CC)", "the headers of Python 3."


@pytest.fixture(autouse=True)
def bare_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU and its driver, on which Triton was never used."""
    for name in ("CC", "CPATH", "C_INCLUDE_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("TRITON_LIBCUDA_PATH", str(tmp_path))
    monkeypatch.setattr(nvidia.CudaDriver, "is_active", lambda: True)
    monkeypatch.setattr(triton.runtime.driver, "_active", None)
    monkeypatch.setattr(triton.runtime.driver, "_default", None)
    monkeypatch.setattr(triton.knobs.build, "impl", None)


def _without(monkeypatch: pytest.MonkeyPatch, *what: str) -> None:
    if "compiler" in what:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    if "headers" in what:
        monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": "/nowhere"})


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (("compiler",), [COMPILER]),
        (("headers",), [HEADERS]),
        (("compiler", "headers"), [f"{COMPILER} and {HEADERS}"]),
    ],
)
def test_what_is_missing_is_named_in_one_line_with_what_works_without_it(
    monkeypatch: pytest.MonkeyPatch, what: tuple[str, ...], named: list[str]
) -> None:
    _without(monkeypatch, *what)
    with pytest.raises(UserError) as raised:
        toolchain.prepare()
    (line,) = raised.value.problems
    assert "\n" not in line
    for part in (*named, "also with --runtime.compile false", "--runtime.device cpu"):
        assert part in line
    missing = [part for part in (COMPILER, HEADERS) if part in line]
    assert len(missing) == len(what)


def test_a_compiler_that_is_named_but_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(UserError, match="a C compiler \\(CC is no-such-compiler\\)"):
        toolchain.prepare()


def test_headers_may_lie_where_the_compiler_is_told_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _without(monkeypatch, "headers")
    (tmp_path / "Python.h").touch()
    monkeypatch.setenv("CPATH", f"/nowhere:{tmp_path}")
    monkeypatch.setattr(triton.runtime.driver, "_active", SimpleNamespace())
    toolchain.prepare()
    assert triton.knobs.build.impl is None


def test_a_full_cache_needs_no_compiler_and_one_with_gaps_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _without(monkeypatch, "compiler")
    monkeypatch.setattr(triton.runtime.driver, "_active", SimpleNamespace())  # was in the cache
    toolchain.prepare()
    with pytest.raises(UserError, match="lacks a C compiler"):
        build.compile_module_from_src("int one;", "launcher")


def test_another_failure_of_triton_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*rest: Any, **more: Any) -> None:
        raise AssertionError("libcuda.so cannot found!\nPossible files are located at ...")

    monkeypatch.setattr(nvidia, "compile_module_from_src", fails)
    with pytest.raises(UserError) as raised:
        toolchain.prepare()
    (line,) = raised.value.problems
    assert line.startswith("Triton cannot use the GPU of this machine (libcuda.so cannot found!); ")
    assert "--runtime.device cpu" in line


def test_a_run_on_a_gpu_asks_first(monkeypatch: pytest.MonkeyPatch) -> None:
    _without(monkeypatch, "compiler")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    gpu._kernel.cache_clear()
    try:
        with pytest.raises(UserError, match="lacks a C compiler"):
            device.prepare(Runtime(device="cuda", precision="bf16", compile=False))
    finally:
        gpu._kernel.cache_clear()
