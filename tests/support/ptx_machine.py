"""Runs a compiled kernel without a GPU: the PTX that Triton makes for one, a block at a time.

All threads of a block run in lockstep (each register is an array over them), so a divergent
branch is an error, and so is every access outside the memory passed in. It implements only the
instructions that our kernels use.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

STATEMENT = re.compile(r"(?:@(!?)(%p\d+)\s+)?([a-z][\w.]*)\s*(.*)", re.DOTALL)
OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")
COMPARE = {"lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
           "eq": np.equal, "ne": np.not_equal}  # fmt: skip
PLAIN: dict[str, Callable[..., Any]] = {
    "mov": lambda a: a, "add": np.add, "sub": np.subtract, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert, "min": np.minimum,
    "max": np.maximum, "neg": np.negative, "abs": np.abs,
    "mul.lo": np.multiply, "mad.lo": lambda a, b, c: a * b + c,
}  # fmt: skip


def kind(name: str) -> np.dtype[Any]:
    """The numpy dtype of a PTX type: b8, u32, s64, f32 ..."""
    return np.dtype(f"{ {'f': 'f', 's': 'i'}.get(name[0], 'u') }{int(name[1:]) // 8}")


class Machine:
    """One kernel, ready to be launched over numpy arrays."""

    def __init__(self, ptx: str) -> None:
        header, body = ptx.split("{", 1)
        self.parameters = re.findall(r"\.param \.(\w+)[^\n]* (\w+)(?:,|\n)", header)
        match = re.search(r"\.reqntid (\d+)", header)
        self.threads = int(match[1]) if match else 1
        body = re.sub(r"//[^\n]*", "", body.split(".section", 1)[0])
        body = re.sub(r"\n\s*\.(loc|reg|file)[^\n]*", "", body)
        self.statements: list[tuple[str, str, str, list[str]]] = []
        self.labels: dict[str, int] = {}
        for text in body.replace("}\n", "}\n;").split(";"):
            text = text.strip().rstrip("}").strip() if text.strip() == "}" else text.strip()
            while label := re.match(r"(\$\w+):\s*", text):
                self.labels[label[1]] = len(self.statements)
                text = text[label.end() :]
            if match := STATEMENT.fullmatch(text):
                negated, predicate, operation, rest = match.groups(default="")
                self.statements.append((negated, predicate, operation, OPERAND.findall(rest)))

    def launch(
        self, grid: tuple[int, int], arguments: Sequence[Any], memory: Sequence[np.ndarray]
    ) -> None:
        """Run every block; `arguments` are numbers and addresses, `memory` all they point to."""
        values = {}
        for (type_name, name), value in zip(self.parameters, arguments, strict=False):
            dtype = kind(type_name)
            if dtype.kind != "f":
                value = int(value) & ((1 << 8 * dtype.itemsize) - 1)
            values[name] = np.array(value, dtype).view(f"u{dtype.itemsize}")
        regions = [(each.ctypes.data, each.view(np.uint8).reshape(-1)) for each in memory]
        for block in np.ndindex(*grid):
            self._run(block, grid, values, regions)

    def _run(
        self,
        block: tuple[int, ...],
        grid: tuple[int, int],
        values: dict[str, Any],
        regions: list[tuple[int, Any]],
    ) -> None:
        everyone = np.ones(self.threads, bool)
        self.registers: dict[str, Any] = {
            "%tid.x": np.arange(self.threads, dtype=np.uint32),
            "%ctaid.x": block[0], "%ctaid.y": block[1],
            "%nctaid.x": grid[0], "%nctaid.y": grid[1],
        }  # fmt: skip
        at = 0
        while True:
            negated, predicate, operation, operands = self.statements[at]
            at += 1
            active = self.registers[predicate] ^ bool(negated) if predicate else everyone
            name, *kinds = operation.split(".")
            if name == "ret" and active.all():
                return
            if name == "bra":
                if active.any() != active.all():
                    raise ValueError("a branch splits the block")
                at = self.labels[operands[0]] if active.any() else at
            elif name in ("ld", "st") and kinds[0] == "global":
                self._access(name, kinds, operands, active, regions)
            elif name == "ld":
                self._write(operands[0], values[operands[1].strip("[]")], active)
            else:
                self._compute(name, kinds, operands, active)

    def _read(self, operand: str, dtype: np.dtype[Any]) -> Any:
        """An operand of every thread as `dtype`; registers hold bits."""
        if operand.startswith("%"):
            held = self.registers[operand]
        elif operand.startswith("0f"):
            held = np.uint32(int(operand[2:], 16))
        else:
            held = int(operand.rstrip("U"), 0) & ((1 << 8 * dtype.itemsize) - 1)
        bits = np.broadcast_to(np.asarray(held), self.threads)
        return bits.astype(f"u{dtype.itemsize}").view(dtype)

    def _write(self, register: str, value: Any, active: Any) -> None:
        value = np.broadcast_to(np.asarray(value), self.threads)
        if value.dtype != bool:
            value = value.view(f"u{value.dtype.itemsize}")
        old = self.registers.get(register)
        if not active.all() and old is not None:
            value = np.where(active, value, old.astype(value.dtype))
        self.registers[register] = value.copy()

    def _access(
        self, name: str, kinds: list[str], operands: list[str], active: Any, regions: list[Any]
    ) -> None:
        """Load or store one or several neighbouring values of every active thread."""
        size = kind(kinds[-1]).itemsize
        registers, place = operands if name == "ld" else operands[::-1]
        names = re.findall(r"%\w+", registers)
        base, offset = re.fullmatch(r"\[\s*(%rd\d+)\s*\+?\s*(-?\d*)\s*\]", place).groups()  # type: ignore[union-attr]
        addresses = self._read(base, np.dtype(np.int64)) + int(offset or 0)
        if (addresses[active] % (size * len(names))).any():
            raise ValueError(f"{name}.{'.'.join(kinds)}: an address is not aligned")
        for n, register in enumerate(names):
            value = np.zeros(self.threads, f"u{size}")
            if name == "st":
                value = self._read(register, value.dtype)
            for thread in np.flatnonzero(active):
                first = int(addresses[thread]) + n * size
                for start, region in regions:
                    if start <= first and first + size <= start + len(region):
                        bytes_ = region[first - start : first - start + size]
                        break
                else:
                    raise ValueError(f"{name}: thread {thread} reaches outside of the memory")
                if name == "ld":
                    value[thread] = bytes_.view(value.dtype)[0]
                else:
                    bytes_[:] = value[thread : thread + 1].view(np.uint8)
            if name == "ld":
                self._write(register, value, active)

    def _compute(self, name: str, kinds: list[str], operands: list[str], active: Any) -> None:
        target, *sources = operands
        if kinds[-1] == "pred":
            logic = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor,
                     "not": np.logical_not, "mov": np.array}[name]  # fmt: skip
            flags = [self.registers[s] if s[0] == "%" else np.bool_(int(s)) for s in sources]
            return self._write(target, logic(*flags), active)
        dtype = kind(kinds[-1])
        if name == "mov" and (target[0] == "{" or sources[0][0] == "{"):
            return self._split_or_join(target, sources[0], dtype, active)
        a, *more = (
            self._read(source, dtype) if n < 2 or name != "selp" else self.registers[source]
            for n, source in enumerate(sources)
        )
        wide = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}") if dtype.itemsize < 8 else dtype
        if name == "setp":
            result = COMPARE[kinds[0]](a, more[0])
        elif name == "selp":
            result = np.where(more[1], a, more[0])
        elif name in ("shl", "shr"):
            amount = self._read(sources[1], np.dtype(np.uint32)).astype(dtype)
            result = a << amount if name == "shl" else a >> amount
        elif name == "bfe":  # `length` bits from `first` on, with their sign
            first, length = (int(source) for source in sources[1:])
            size = 8 * dtype.itemsize
            result = a << dtype.type(size - first - length) >> dtype.type(size - length)
        elif name == "cvt":
            result = self._convert(kinds, a, more)
        elif name == "fma":
            exact = a.astype(np.float64) * more[0] + more[1]  # a byte times 24 bits is exact
            result = exact.astype(np.float32)
        elif name == "prmt":
            pair = a.astype(np.uint64) | more[0].astype(np.uint64) << np.uint64(32)
            parts = [pair >> (8 * (more[1] >> 4 * n & 7)).astype(np.uint64) & 255 for n in range(4)]
            result = sum(part << np.uint64(8 * n) for n, part in enumerate(parts)).astype(dtype)
        elif name in ("mul", "mad") and kinds[0] in ("wide", "hi"):
            result = a.astype(wide) * more[0].astype(wide)
            if kinds[0] == "hi":
                result = (result >> wide.type(8 * dtype.itemsize)).astype(dtype)
            elif name == "mad":
                result = result + self._read(sources[2], wide)
        else:
            key = f"{name}.lo" if "lo" in kinds else name
            if key not in PLAIN:
                raise NotImplementedError(f"{name}.{'.'.join(kinds)}")
            result = PLAIN[key](a, *more)
        self._write(target, result, active)

    def _convert(self, kinds: list[str], a: Any, more: list[Any]) -> Any:
        target = kinds[-2]
        if target in ("bf16x2", "f16x2"):  # the first source goes to the upper half
            halves = [_half(each, target) for each in (a, *more)]
            return halves[0].astype(np.uint32) << np.uint32(16) | halves[1]
        if target in ("bf16", "f16"):
            return _half(a, target)
        return a.astype(kind(target))

    def _split_or_join(self, target: str, source: str, dtype: np.dtype[Any], active: Any) -> None:
        parts = re.findall(r"%\w+|\b_\b", target if target[0] == "{" else source)
        part = np.dtype(f"u{dtype.itemsize // len(parts)}")
        if target[0] == "{":
            bits = self._read(source, dtype)
            for n, register in enumerate(parts):
                if register != "_":
                    shift = dtype.type(8 * part.itemsize * n)
                    self._write(register, (bits >> shift).astype(part), active)
        else:
            bits = np.zeros(self.threads, dtype)
            for n, register in enumerate(parts):
                shift = dtype.type(8 * part.itemsize * n)
                bits |= self._read(register, part).astype(dtype) << shift
            self._write(target, bits, active)


def _half(value: Any, name: str) -> Any:
    """float32 rounded to the nearest 16-bit float, ties to even, as bits."""
    if name.startswith("f16"):
        return value.astype(np.float16).view(np.uint16)
    bits = value.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
