"""Scripts of others, loaded from the user's checkout and changed as they are loaded.

Nothing of them is kept here but a digest, and the few expressions that a change replaces. A
script that is not the known one is refused: a change that misses its place would go unnoticed.
"""

from __future__ import annotations

import ast
import hashlib
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch

from engine.errors import UserError


@dataclass(frozen=True)
class Script:
    """A script that is known here."""

    repository: str
    path: str  # in the checkout
    commit: str  # one that has it
    sha256: str


@dataclass(frozen=True)
class Change:
    """An expression within one function or class, and what replaces it."""

    why: str
    within: str
    before: str  # as ast.unparse writes it
    after: str
    times: int = 1


def read(checkout: Path, script: Script) -> str:
    """The text of the script in the user's checkout; another version is refused."""
    path = checkout / script.path
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; expected a checkout of github.com/{script.repository}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != script.sha256:
        raise UserError(
            f"{path}: not the version that is known here (SHA-256 {digest[:16]}..., expected "
            f"{script.sha256[:16]}...); check out commit {script.commit[:12]} of "
            f"github.com/{script.repository}"
        )
    return content.decode()


def load(checkout: Path, script: Script, changes: Sequence[Change], **values: Any) -> Any:
    """The script as a module with all changes made; `values` are names that these need.

    What the script decorates with torch.compile stays eager on a machine without a GPU.
    """
    path = checkout / script.path
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the script's own docstrings
        tree = changed(ast.parse(read(checkout, script)), changes, path)
    module = ModuleType(path.stem)
    module.__dict__.update(values, __file__=str(path))
    compiled = torch.compile if torch.cuda.is_available() else _uncompiled
    with patch.object(sys, "argv", [str(path)]), patch.object(torch, "compile", compiled):
        exec(compile(tree, str(path), "exec"), module.__dict__)
    return module


def changed(tree: ast.Module, changes: Sequence[Change], path: Path) -> ast.Module:
    """`tree` with every change made, each exactly as often as it says."""
    for change in changes:
        replacing = _Replacing(change)
        for node in tree.body:
            if getattr(node, "name", None) == change.within:
                replacing.visit(node)
        if replacing.made != change.times:
            raise UserError(
                f"{path}: expected `{change.before}` {change.times} times in {change.within}, "
                f"found it {replacing.made} times; this version of the script cannot be changed "
                f"as needed ({change.why})"
            )
    return ast.fix_missing_locations(tree)


def facts(checkout: Path, script: Script, changes: Sequence[Change]) -> dict[str, Any]:
    """What a record tells of the script: where it comes from, and what was changed."""
    return {
        "repository": script.repository,
        "file": script.path,
        "sha256": script.sha256,
        "commit": _commit(checkout) or f"not a Git checkout; the file is that of {script.commit}",
        "changes": [f"{each.within}: {each.before} -> {each.after}" for each in changes],
    }


class _Replacing(ast.NodeTransformer):
    """Replaces one expression and counts how often."""

    def __init__(self, change: Change) -> None:
        self.made = 0
        self._before = change.before
        self._after = ast.parse(change.after, mode="eval").body

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.expr) and ast.unparse(node) == self._before:
            self.made += 1
            return self._after
        return super().visit(node)


def _uncompiled(function: Any = None, **options: Any) -> Any:
    """In the place of torch.compile, also as a decorator with options."""
    return (lambda each: each) if function is None else function


def _commit(checkout: Path) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(checkout), "rev-parse", "HEAD"],
            capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
