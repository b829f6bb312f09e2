"""Config files: YAML read node by node, so that every value knows its line.

Covers PyYAML's own surprises: duplicate keys (the last would win), `5e-4` (a word to it), tags,
several documents, endless nesting, named pipes and exceptions that are not YAMLErrors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from engine import files
from engine.config.values import Entry, Nested, Raw, Scalar
from engine.config.wording import did_you_mean, shown
from engine.errors import UserError

LARGEST_FILE = 1_000_000  # bytes; a config has a few hundred
_MOST_GUESSES = 50  # close matches take time; a file with more mistakes is no config
_CORE = "tag:yaml.org,2002:"
_NOT_TEXT = {_CORE + name for name in ("bool", "int", "float", "null")}


@dataclass
class FileContent:
    """The settings of a config file, and what is wrong with it."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    readable: bool = True  # False: its settings are unknown


def read_file(path: Path, keys: Collection[str], sections: Collection[str]) -> FileContent:
    """The settings of one config file, in its order; never raises, whatever the file holds."""
    try:
        document = open_document(path)
    except Unreadable as error:
        return FileContent([], [str(error)], readable=False)
    if not isinstance(document.root, yaml.MappingNode):
        expected = f"expected sections such as `{next(iter(sections), 'section')}:` at the top"
        problem = f"{place(path, line_of(document.root))}: {expected}"
        return FileContent([], [problem], readable=False)
    content = settings_in(document.root, path, keys, sections)
    content.problems[:0] = document.problems
    return content


class Unreadable(Exception):
    """Not a YAML file that can be read; the message is one line."""


class Document(NamedTuple):
    """A YAML file as its nodes, and problems of form."""

    root: yaml.Node
    problems: list[str]


def open_document(path: Path) -> Document:
    """The nodes of any YAML file; raises `Unreadable`."""
    root, tags = _compose(path, _read_text(path))
    return Document(
        root,
        [
            f"{place(path, line)}: explicit tags are not allowed, found {shown(tag)}"
            for tag, line in tags
        ],
    )


def settings_in(
    node: yaml.MappingNode, path: Path, keys: Collection[str], sections: Collection[str]
) -> FileContent:
    """The settings in a mapping, anywhere in a YAML file."""
    reader = _Reader(path, keys, sections)
    reader.top(node)
    return reader.content


def place(path: Path, line: int) -> str:
    """`configs/x.yaml, line 4`."""
    return f"{shown(str(path), None)}, line {line}"


def pairs_of(
    node: yaml.MappingNode,
    problem: Callable[[int, str], None],
    prefix: str = "",
    seen: dict[str, int] | None = None,
) -> Iterator[tuple[str, int, yaml.Node]]:
    """The pairs of a mapping, without those whose name is no word or a repetition."""
    lines = {} if seen is None else seen
    for key, value in node.value:
        line = line_of(key)
        if not isinstance(key, yaml.ScalarNode):
            problem(line, "expected a name before the colon, found a list or mapping")
            continue
        name = prefix + key.value
        if name in lines:
            problem(line, f"{shown(name)}: already given on line {lines[name]}")
            continue
        lines[name] = line
        yield name, line, value


class _Reader:
    def __init__(self, path: Path, keys: Collection[str], sections: Collection[str]) -> None:
        self.path, self.keys, self.sections = path, keys, sections
        self.content = FileContent()
        self.lines: dict[str, int] = {}  # of the keys and sections seen
        self.guesses = 0

    def top(self, node: yaml.MappingNode) -> None:
        for name, line, value in pairs_of(node, self.problem, "", self.lines):
            if name not in self.sections:
                self.setting(name, line, value)
            elif isinstance(value, yaml.MappingNode):
                inner_pairs = pairs_of(value, self.problem, name + ".", self.lines)
                for key, inner_line, inner in inner_pairs:
                    self.setting(key, inner_line, inner)
            else:
                self.problem(line, f"{name}: expected this section's settings, indented below it")

    def setting(self, key: str, line: int, node: yaml.Node) -> None:
        if key in self.keys:
            self.content.entries.append(Entry(key, raw_of(node), place(self.path, line)))
            return
        self.guesses += 1
        guess = did_you_mean(key, self.keys) if self.guesses <= _MOST_GUESSES else ""
        if isinstance(node, yaml.MappingNode) and "." not in key:
            section = did_you_mean(key, self.sections)
            self.problem(line, f"{shown(key)}: no such section{section or guess}")
        else:
            self.problem(line, f"{shown(key)}: no such option{guess}")

    def problem(self, line: int, message: str) -> None:
        self.content.problems.append(f"{place(self.path, line)}: {message}")


class _Loader(yaml.SafeLoader):
    """Remembers explicit tags, which the nodes alone do not show."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tags: list[tuple[str, int]] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if tag := getattr(event, "tag", None):
            self.tags.append((tag, event.start_mark.line + 1))
        return super().compose_node(parent, index)


def _compose(path: Path, text: str) -> tuple[yaml.Node, list[tuple[str, int]]]:
    name = shown(str(path), None)
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except RecursionError:
        raise Unreadable(f"{name}: nested too deeply") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise Unreadable(f"{name}, line {line}: a character that YAML forbids") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{name}, line {mark.line + 1}" if mark else name
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        hint = "; indent with spaces, not tabs" if "\\t" in what else ""
        if "single document" in what:
            what = "a second document begins here; a config file holds one"
        raise Unreadable(f"{place}: not valid YAML: {shown(what, 200)}{hint}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise Unreadable(f"{name}: not valid YAML: {shown(str(error), 200)}") from None
    if node is None:
        raise Unreadable(f"{name}: the file is empty; expected at least one setting")
    return node, loader.tags


def _read_text(path: Path) -> str:
    name = shown(str(path), None)
    try:
        content = files.read_bytes(path, LARGEST_FILE)
    except FileNotFoundError:
        raise Unreadable(f"{name}: no such config file{_neighbours(path)}") from None
    except (OSError, ValueError, UserError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise Unreadable(f"{name}: not readable as a config file: {shown(reason)}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Unreadable(f"{name}, line {line}: not valid UTF-8") from None


def _neighbours(path: Path) -> str:
    try:
        names = sorted(entry.name for entry in path.parent.iterdir())
    except OSError:
        return "" if str(path.parent) == "." else f"; nor the folder {shown(str(path.parent))}"
    names = [name for name in names if name.endswith((".yaml", ".yml"))]
    return did_you_mean(str(path), [str(path.parent / name) for name in names])


def raw_of(node: yaml.Node) -> Raw:
    """What is written at a node: a scalar, a list of scalars, nothing or a nested mapping."""
    if isinstance(node, yaml.ScalarNode):
        quoted = node.style is not None  # quotes or a block: meant as text
        if node.tag == _CORE + "null" and not quoted:
            return None
        return Scalar(node.value, quoted, quoted or node.tag not in _NOT_TEXT)
    if isinstance(node, yaml.SequenceNode):
        items: Sequence[yaml.Node] = node.value
        return tuple(
            raw_of(item) if isinstance(item, yaml.ScalarNode) else Nested() for item in items
        )
    return Nested()


def line_of(node: yaml.Node) -> int:
    """The line on which a node begins, from 1."""
    return int(node.start_mark.line) + 1
