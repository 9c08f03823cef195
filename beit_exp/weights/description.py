"""What the pickle in a `torch.save` file describes: containers of plain values, and of tensors.

A pickle is a program. Python's unpickler runs it, and what it runs may call functions, fill the
memory or end the process; this one knows the opcodes and the few names that `torch.save` uses for a
state dict, and refuses the others. Source: pickletools, torch/serialization.py, torch/_utils.py.
"""

from __future__ import annotations

import pickletools
from typing import Any, NamedTuple

MAX_BYTES = 1 << 20  # a state dict of 600 tensors takes 90 kB
STORAGE = "Storage"
KNOWN = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("argparse", "Namespace"),
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"),
    *("FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "STRING", "BINSTRING"),
    *("SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES"),
}
PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
GETS = {"GET", "BINGET", "LONG_BINGET"}
TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class Name(NamedTuple):
    """Of a function or a class that a pickle asks for."""

    module: str
    name: str


class Storage(NamedTuple):
    """A block of numbers in the archive."""

    kind: str  # torch's name of its type: FloatStorage
    key: str
    length: int  # in numbers


class StridedTensor(NamedTuple):
    """A tensor: which numbers of a storage, and how they lie."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Unused:
    """Stands for an object that is no tensor: the training arguments that some files keep."""


def read_description(pickled: bytes) -> Any:
    """What the pickle stands for, with a `StridedTensor` for each tensor; `ValueError` if it asks
    for anything else.
    """
    if len(pickled) > MAX_BYTES:
        raise ValueError(
            f"its description takes {len(pickled):,} bytes; that of a state dict takes less than "
            f"{MAX_BYTES:,}"
        )
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(pickled):
        machine.do(opcode.name, argument)
    (content,) = machine.stack
    return content


class _Machine:
    """The stack that a pickle works on, what lies below its marks, and what it remembers."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def do(self, opcode: str, argument: Any) -> None:
        if opcode in VALUES:
            self.stack.append(argument)
        elif opcode in CONSTANTS:
            self.stack.append(CONSTANTS[opcode])
        elif opcode in PUTS:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif opcode in GETS:
            self.stack.append(self.memo[argument])
        elif opcode in TUPLES:
            count = TUPLES[opcode]
            self.stack[len(self.stack) - count :] = [tuple(self._last(count))]
        else:
            self._do_other(opcode, argument)

    def _do_other(self, opcode: str, argument: Any) -> None:
        stack = self.stack
        match opcode:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "DICT":
                found = self._above_mark()
                self.stack.append(_pairs(found))
            case "LIST":
                found = self._above_mark()
                self.stack.append(found)
            case "TUPLE":
                found = self._above_mark()
                self.stack.append(tuple(found))
            case "SETITEM":
                key, value = stack.pop(-2), stack.pop()
                _of_type(stack[-1], dict).update(_pairs([key, value]))
            case "SETITEMS":
                found = self._above_mark()
                _of_type(self.stack[-1], dict).update(_pairs(found))
            case "APPEND":
                value = stack.pop()
                _of_type(stack[-1], list).append(value)
            case "APPENDS":
                found = self._above_mark()
                _of_type(self.stack[-1], list).extend(found)
            case "GLOBAL":
                stack.append(_known(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                module, name = stack.pop(-2), stack.pop()
                stack.append(_known(_of_type(module, str), _of_type(name, str)))
            case "REDUCE" | "NEWOBJ":
                name, arguments = stack.pop(-2), stack.pop()
                stack.append(_make(_of_type(name, Name), _of_type(arguments, tuple)))
            case "BUILD":  # attributes of an object, which nothing here needs
                stack.pop()
            case "BINPERSID":
                stack.append(_storage(_of_type(stack.pop(), tuple)))
            case _:
                raise ValueError(f"its pickle uses {opcode}, which torch.save does not")

    def _last(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise ValueError("its pickle takes more from the stack than is there")
        return self.stack[len(self.stack) - count :]

    def _above_mark(self) -> list[Any]:
        found, self.stack = self.stack, self.below.pop()
        return found


def _known(module: str, name: str) -> Name:
    if (module, name) in KNOWN or (module == "torch" and name.endswith(STORAGE)):
        return Name(module, name)
    raise ValueError(
        f"it asks to run {module}.{name}; weights are tensors and plain containers alone"
    )


def _make(name: Name, arguments: tuple[Any, ...]) -> Any:
    match name.name:
        case "OrderedDict":
            pairs = arguments[0] if arguments else []
            return _pairs([value for pair in pairs for value in _pair(pair)])
        case "_rebuild_tensor_v2":
            storage, offset, size, stride, *_ = arguments
            return _tensor(storage, offset, size, stride)
        case "_rebuild_parameter":
            return _of_type(arguments[0], StridedTensor)
        case "Namespace":
            return Unused()
        case _:
            raise ValueError(f"its pickle calls {name.module}.{name.name}")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> StridedTensor:
    _of_type(storage, Storage)
    numbers = [offset, *_of_type(size, tuple), *_of_type(stride, tuple)]
    if any(type(number) is not int or number < 0 for number in numbers) or len(size) != len(stride):
        raise ValueError("a tensor's offset, size and strides must be counts, and as many of each")
    return StridedTensor(storage, offset, size, stride)


def _storage(identifier: tuple[Any, ...]) -> Storage:
    what, kind, key, _, count = identifier
    if what != "storage":
        raise ValueError(f"it refers to {what!r}, which is no storage of a tensor")
    if _of_type(count, int) < 0:
        raise ValueError("a storage of fewer than no numbers")
    return Storage(_of_type(kind, Name).name, _of_type(key, str), count)


def _pairs(values: list[Any]) -> dict[Any, Any]:
    """Of keys and values in turn; keys as state dicts have them, for others may be deep."""
    keys = values[::2]
    if not all(type(key) in (str, int) for key in keys):
        raise ValueError("a key that is neither text nor a number")
    return dict(zip(keys, values[1::2], strict=True))


def _pair(value: Any) -> tuple[Any, Any]:
    if type(value) not in (tuple, list) or len(value) != 2:
        raise ValueError("an ordered dictionary of what are no pairs")
    return value[0], value[1]


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise ValueError(f"its pickle has {type(value).__name__} where {kind.__name__} belongs")
    return value
