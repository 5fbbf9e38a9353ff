"""Mistakes in a TOML file, each with the line and the key that it is in, all told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel, ValidationError

from backend.domain.result_columns import suggest
from backend.errors import ConfigurationError

# A key by the names that lead to it; the number (from 0) stands for a table of an array: [[employees.supplements]].
KeyPath = tuple[str, ...]

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*([A-Za-z0-9_.\-"']+)\s*=""")
_Model = TypeVar("_Model", bound=BaseModel)


class TomlProblems:
    """The mistakes found so far in the text of a file.

    Args:
        hints: what to give instead, by the type of pydantic's error; `key` for a name that cannot be one.
    """

    def __init__(self, text: str, hints: dict[str, str]) -> None:
        self._lines = _locate_keys(text)
        self._hints = hints
        self._found: list[tuple[int, str]] = []

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._found)

    def add(self, path: KeyPath, message: str) -> None:
        """Note a mistake at a key."""
        names = tuple(part.strip('"') for part in path)
        line = next((self._lines[names[:n]] for n in range(len(names), 0, -1) if names[:n] in self._lines), 0)
        where = _spell(path)
        self._found.append((line, (f"line {line}, " if line else "") + (f"{where}: " if where else "") + message))

    def validate(self, model: type[_Model], content: object, path: KeyPath) -> _Model | None:
        """The content as the model, or None when it is wrong."""
        try:
            return model.model_validate(content)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_input=False):
                inner = tuple(_name(part) for part in item["loc"] if part != "[key]")
                kind = "key" if "[key]" in item["loc"] else item["type"]
                self.add((*path, *inner), self._explain(model, kind, item["msg"], inner))
            return None

    def raise_if_any(self, file: str) -> None:
        """Raise ConfigurationError with every mistake, in the order of the lines."""
        if self._found:
            listed = "; ".join(message for _, message in sorted(dict.fromkeys(self._found)))
            raise ConfigurationError(f"{file} is wrong: {listed}.")

    def _explain(self, model: type[BaseModel], kind: str, message: str, inner: KeyPath) -> str:
        if kind == "extra_forbidden":
            known = _keys_at(model, inner[:-1])
            return f"unknown key{did_you_mean(inner[-1], known)}; there are {', '.join(known)}"
        if kind == "missing":
            return "is missing"
        message = self._hints.get(kind, message).removeprefix("Value error, ").removeprefix("Input ")
        return message[:1].lower() + message[1:]


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """The end of a message: the candidate that was probably meant, if there is one."""
    found = suggest(word, candidates)
    return f"; did you mean {found}?" if found else ""


def _keys_at(model: type[BaseModel], path: KeyPath) -> Sequence[str]:
    """The keys of the table at the path in a file of the model."""
    for part in path:
        if part in model.model_fields:  # the number or name of a table in a list or dict is no field
            model = next(_models_in(model.model_fields[part].annotation), model)
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _name(part: int | str) -> str:
    # A key that is a number is not to be taken for the place in an array.
    return f'"{part}"' if isinstance(part, str) and part.isdecimal() else str(part)


def _spell(path: KeyPath) -> str:
    spelt = ""
    for part in path:
        spelt += f"[{int(part) + 1}]" if part.isdecimal() and spelt else f".{part}" if spelt else part
    return spelt


def _locate_keys(text: str) -> dict[KeyPath, int]:
    """The line (from 1) of every table header and key; good enough to point a person at it."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    inside: str | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        was_inside, inside = inside, _open_string(line, inside)
        if was_inside is not None:
            continue
        if header := _HEADER.match(line):
            table = _resolve(_split_key(header[2]), counts, is_array=header[1] == "[[")
            lines.setdefault(table, number)
            lines.setdefault(table[:-1] if table[-1].isdecimal() else table, number)
        elif key := _KEY.match(line):
            path = (*table, *_split_key(key[1]))
            for length in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:length], number)
    return lines


def _open_string(line: str, inside: str | None) -> str | None:
    """The quotes of the text of several lines that is open after the line."""
    for quotes in re.findall(r'"""|\'\'\'', line):
        if inside is None:
            inside = quotes
        elif inside == quotes:
            inside = None
    return inside


def _resolve(names: KeyPath, counts: dict[KeyPath, int], *, is_array: bool) -> KeyPath:
    """The path of a header, with the number of the last table of every array on the way."""
    path: KeyPath = ()
    for index, name in enumerate(names):
        path += (name,)
        if is_array and index == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path += (str(counts[path]),)
    return path


def _split_key(text: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
