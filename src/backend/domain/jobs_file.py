"""A jobs file (TOML): read with the line of everything that is wrong, written in the same form.

Pure: text in, jobs and problems out. What a job may be is said in `domain.jobs` and `domain.schedules`; here is only
how it is spelled in a file.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import difflib
import json
import re
import string
import tomllib
import zoneinfo
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from backend.domain.jobs import Blackout, JobSpec, validate_job
from backend.domain.schedules import TriggerKind, parse_interval, parse_timezone
from backend.errors import ConfigurationError


class TaskParameters(Protocol):
    """What a task of the registry says about its parameters."""

    def parameter_schema(self) -> dict[str, Any]:
        """JSON schema of the parameters."""
        ...

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters as JSON holds them; ConfigurationError names what is wrong."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _AnyTask:
    """Stands for the task while the rest of a job is checked; task and parameters are checked by themselves."""

    code: str = "any"
    name: str = "any"
    queue: str = "default"
    idempotent: bool = True
    max_attempts: int = 1

    def validate_params(self, params: dict[str, Any]) -> dict[str, Any]:
        return params


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """One thing that is wrong in a file; `line` counts from 1."""

    line: int
    message: str


class JobsFileError(ConfigurationError):
    """A jobs file cannot be applied; `problems` are all reasons, in the order of their lines."""

    def __init__(self, file_name: str, problems: Sequence[FileProblem]) -> None:
        self.file_name = file_name
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__("\n".join(f"{file_name}:{problem.line}: {problem.message}" for problem in self.problems))


TRIGGER_KEYS: Mapping[str, TriggerKind] = {
    "cron": TriggerKind.CRON,
    "every": TriggerKind.INTERVAL,
    "at": TriggerKind.DATE,
}
# Key in the file -> field of JobSpec, where the two differ.
_FIELD_NAMES: Mapping[str, str] = {
    "task": "task_code",
    "dst": "dst_rule",
    "jitter": "jitter_seconds",
    "max_lateness": "max_lateness_seconds",
    "blackout": "blackouts",
}
JOB_KEYS = (
    "code", "task", "name", "description", *TRIGGER_KEYS, "timezone", "dst", "jitter", "starts_at", "ends_at",
    "max_runs", "catch_up", "max_lateness", "overlap", "blackout", "params", "enabled",
)  # fmt: skip
# For every field of a job that can be wrong: values that are not.
_HARMLESS: Mapping[str, dict[str, Any]] = {
    **{field.name: {field.name: field.default} for field in dataclasses.fields(JobSpec)},
    "blackouts": {"blackouts": ()},
    "code": {"code": "x"},
    "trigger_expression": {"trigger_kind": TriggerKind.INTERVAL, "trigger_expression": "1d"},
}
_NAME_CHARACTERS = string.ascii_lowercase + "_"
_LARGEST_COUNT = 2**31 - 1
_TEXT_KEYS = ("code", "task", "name", "description", "timezone", "dst", "catch_up", "overlap")
_INSTANT_ADVICE = "write a date and time such as 2026-03-01T08:00:00Z, or without Z in the job's timezone"


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_jobs_file(text: str, tasks: Mapping[str, TaskParameters], *, file_name: str = "jobs.toml") -> list[JobSpec]:
    """The jobs of a file, in its order, with their parameters checked.

    Args:
        tasks: the task registry, by code.
        file_name: what the problems call the file.

    Raises:
        JobsFileError: listing every problem with its line.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise JobsFileError(file_name, [_syntax_problem(error, text)]) from None
    lines = _Lines(text)
    problems = [
        FileProblem(
            line=lines.of(key),
            message=f"unknown key {key!r}: a jobs file holds [[job]] tables.",
        )
        for key in document
        if key != "job"
    ]
    tables = document.get("job", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(FileProblem(line=lines.of("job"), message="write each job as a table headed [[job]]."))
        raise JobsFileError(file_name, problems)
    specs: list[JobSpec] = []
    first_lines: dict[str, int] = {}
    for index, table in enumerate(tables):
        reader = _JobReader(table, tasks, lambda *path, index=index: lines.of("job", index, *path))
        spec = reader.read()
        problems += reader.problems
        code = table.get("code")
        if isinstance(code, str) and code in first_lines:
            problems.append(
                FileProblem(
                    line=lines.of("job", index, "code"),
                    message=f"code = {code!r} is already the job of line {first_lines[code]}.",
                )
            )
        elif isinstance(code, str):
            first_lines[code] = lines.of("job", index, "code")
        if spec is not None:
            specs.append(spec)
    if problems:
        raise JobsFileError(file_name, problems)
    return specs


class _JobReader:
    """Reads one [[job]] table and collects all that is wrong with it."""

    def __init__(
        self, table: Mapping[str, Any], tasks: Mapping[str, TaskParameters], line_of: Callable[..., int]
    ) -> None:
        self._table = table
        self._tasks = tasks
        self._line_of = line_of
        self.problems: list[FileProblem] = []

    def read(self) -> JobSpec | None:
        """The job; None when it is so wrong that there is none. `problems` says what is wrong."""
        for key in self._table:
            if key not in JOB_KEYS:
                self._complain(f"unknown key {key!r}{_similar(key, JOB_KEYS)}.", key)
        trigger_key = self._trigger_key()
        values: dict[str, Any] = _HARMLESS["code"] | {"task_code": ""}
        zone = self._zone()
        for key, read in self._readers(zone).items():
            if key in self._table:
                value = read(key, self._table[key])
                if value is not None:
                    values[_FIELD_NAMES.get(key, key)] = value
            elif key in ("code", "task"):
                self._complain(f"the job has no {key!r}.")
        if trigger_key is not None:
            values |= self._trigger(trigger_key)
        spec = self._checked(JobSpec(**(_HARMLESS["trigger_expression"] | values)), trigger_key)
        task = self._task(self._table.get("task"))
        if task is not None:
            spec = dataclasses.replace(spec, params=self._params(task, dict(spec.params)))
        return None if self.problems else spec

    def _readers(self, zone: zoneinfo.ZoneInfo) -> Mapping[str, Callable[[str, Any], Any]]:
        def instant(key: str, value: Any) -> Any:
            return self._instant(value, zone, key)

        def blackouts(key: str, value: Any) -> Any:
            return self._blackouts(value, zone)

        return {
            **dict.fromkeys(
                ("code", "task", "name", "description", "timezone", "dst", "catch_up", "overlap"), self._text
            ),
            "jitter": self._seconds,
            "max_lateness": self._seconds,
            "starts_at": instant,
            "ends_at": instant,
            "max_runs": self._count,
            "blackout": blackouts,
            "params": self._raw_params,
            "enabled": self._flag,
        }

    def _complain(self, message: str, *path: str | int) -> None:
        self.problems.append(FileProblem(line=self._line_of(*path), message=message))

    def _trigger_key(self) -> str | None:
        given = [key for key in TRIGGER_KEYS if key in self._table]
        if len(given) == 1:
            return given[0]
        if given:
            self._complain(f"{' and '.join(given)} exclude each other: a job has one trigger.", given[1])
        else:
            self._complain("the job has no trigger: give it one of cron, every or at.")
        return None

    def _trigger(self, key: str) -> dict[str, Any]:
        value = self._table[key]
        if key == "every" and isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if key == "at" and isinstance(value, dt.datetime):
            value = value.isoformat()
        if not isinstance(value, str):
            example = {"cron": '"30 2 * * 1-5"', "every": '"15m"', "at": "2026-03-01T08:00:00"}[key]
            self._complain(f"{key} = {_shown(value)} is not a trigger: write for example {key} = {example}.", key)
            return {}
        return {"trigger_kind": TRIGGER_KEYS[key], "trigger_expression": value}

    def _zone(self) -> zoneinfo.ZoneInfo:
        """The job's zone; UTC where it is wrong, which is complained of elsewhere."""
        try:
            return parse_timezone(str(self._table.get("timezone", "UTC")))
        except ConfigurationError:
            return zoneinfo.ZoneInfo("UTC")

    def _text(self, key: str, value: Any) -> str | None:
        if isinstance(value, str):
            return value
        self._complain(f"{key} = {_shown(value)} is not a text: put it in quotes.", key)
        return None

    def _flag(self, key: str, value: Any) -> bool | None:
        if isinstance(value, bool):
            return value
        self._complain(f"{key} = {_shown(value)} is neither true nor false.", key)
        return None

    def _count(self, key: str, value: Any) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and value <= _LARGEST_COUNT:
            return value
        self._complain(f"{key} = {_shown(value)} is not a number of runs.", key)
        return None

    def _seconds(self, key: str, value: Any) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        if isinstance(value, str):
            if value.strip() in ("0", "0s"):
                return 0
            try:
                return parse_interval(value)
            except ConfigurationError:
                pass
        self._complain(f"{key} = {_shown(value)} is not a time: write seconds, or a text such as 30s, 15m or 12h.", key)
        return None

    def _instant(self, value: Any, zone: zoneinfo.ZoneInfo, key: str) -> dt.datetime | None:
        try:
            instant = dt.datetime.fromisoformat(value) if isinstance(value, str) else value
            if not isinstance(instant, dt.datetime):
                raise ValueError
            return (instant if instant.tzinfo else instant.replace(tzinfo=zone)).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            self._complain(f"{key} = {_shown(value)} is not an instant: {_INSTANT_ADVICE}.", key)
            return None

    def _blackouts(self, value: Any, zone: zoneinfo.ZoneInfo) -> tuple[Blackout, ...] | None:
        windows = value if isinstance(value, list) else [value]
        found = []
        for number, window in enumerate(windows):
            before = len(self.problems)
            if not isinstance(window, dict) or not {"start", "end"} <= set(window) <= {"start", "end", "reason"}:
                self._complain(
                    f'blackout = {_shown(window)} is not a window: write {{ start = ..., end = ..., reason = "..." }}.',
                    "blackout",
                    number,
                )
                continue
            start = self._instant(window["start"], zone, "blackout")
            end = self._instant(window["end"], zone, "blackout")
            reason = self._text("blackout", window.get("reason", ""))
            if start is not None and end is not None and reason is not None and len(self.problems) == before:
                found.append(Blackout(start=start, end=end, reason=reason))
        return tuple(found)

    def _raw_params(self, key: str, value: Any) -> dict[str, Any] | None:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                self._complain(f"params is a text, but not JSON: {error}. Write a table: {{ name = value }}.", key)
                return None
        if isinstance(value, dict):
            return value
        self._complain(f"params = {_shown(value)} is not a table: write {{ name = value }}.", key)
        return None

    def _checked(self, spec: JobSpec, trigger_key: str | None) -> JobSpec:
        """The job after `validate_job` has said all that is wrong with it; what is wrong is set to what is not."""
        keys = {field: key for key, field in _FIELD_NAMES.items()} | {"trigger_expression": trigger_key or "every"}
        while True:
            try:
                validate_job(spec, {spec.task_code: _AnyTask()})
                return spec
            except ConfigurationError as error:
                message = str(error)
            field = message[: len(message) - len(message.lstrip(_NAME_CHARACTERS))]
            key = keys.get(field, field)
            self._complain(key + message.removeprefix(field), *([key] if key in self._table else []))
            if field not in _HARMLESS:
                return spec
            spec = dataclasses.replace(spec, **_HARMLESS[field])

    def _task(self, code: object) -> TaskParameters | None:
        if not isinstance(code, str) or code in self._tasks:
            return self._tasks[code] if isinstance(code, str) else None
        there_are = ", ".join(sorted(self._tasks)) or "none"
        self._complain(f"task = {code!r} is not a task{_similar(code, self._tasks)}. There are: {there_are}.", "task")
        return None

    def _params(self, task: TaskParameters, params: dict[str, Any]) -> dict[str, Any]:
        """The parameters as they are stored."""
        known = task.parameter_schema().get("properties", {})
        for name in [name for name in params if name not in known]:
            takes = ", ".join(known) or "none"
            self._complain(
                f"unknown parameter {name!r}{_similar(name, known)}. The task takes: {takes}.", "params", name
            )
            del params[name]
        try:
            return task.validate_params(params)
        except ConfigurationError as error:
            message = str(error)
        named = [name for name in params if re.search(rf"(?<!\w){re.escape(name)}(\.\S+)?: ", message)]
        self._complain(message, *(["params", named[0]] if named else ["params"] if "params" in self._table else []))
        return {}


def _similar(word: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _shown(value: Any) -> str:
    text = str(value) if isinstance(value, dt.date | dt.time) else _toml_value(value)
    return text if len(text) <= 80 else text[:79] + "…"


# --- the lines --------------------------------------------------------------------------------------------------------


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str) -> FileProblem:
    message = str(error)
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(found[1]) if found and found[1] else text.count("\n") + 1
    return FileProblem(line=line, message=f"not TOML: {message[: found.start()] if found else message}.")


_TOKEN = re.compile(
    r'''(?P<text>"""(?:\\.|(?!""").)*"{3,5}|\'\'\'(?:(?!\'\'\').)*\'{3,5}|"(?:\\.|[^"\\\n])*"|'[^'\n]*')'''
    r"|(?P<comment>\#[^\n]*)|(?P<newline>\n)|(?P<mark>[\[\]{}=,.])|(?P<blank>[ \t\r]+)|(?P<bare>[^\s\[\]{}=,.\#\"']+)",
    re.DOTALL,
)


class _Lines:
    """Where the keys of a valid TOML text stand; tomllib does not tell."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str | int, ...], int] = {}
        self._counts: dict[tuple[str | int, ...], int] = {}
        table: tuple[str | int, ...] = ()
        for line, tokens in _statements(text):
            if tokens[0] == "[":
                is_array = len(tokens) > 1 and tokens[1] == "["
                table = self._resolved(_key(tokens[2 if is_array else 1 :]))
                if is_array:
                    number = self._counts.get(table, -1) + 1
                    self._counts[table] = number
                    self._lines.setdefault(table, line)
                    table = (*table, number)
                self._lines.setdefault(table, line)
            else:
                path = table
                for part in _key(tokens):
                    path = (*path, part)
                    self._lines.setdefault(path, line)

    def of(self, *path: str | int) -> int:
        """The line of the key, or of the nearest thing around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def _resolved(self, key: Sequence[str]) -> tuple[str | int, ...]:
        """`job.params` in a header means the params of the last job."""
        path: tuple[str | int, ...] = ()
        for number, part in enumerate(key):
            path = (*path, part)
            if path in self._counts and number < len(key) - 1:
                path = (*path, self._counts[path])
        return path


def _statements(text: str) -> Iterator[tuple[int, list[str]]]:
    """The lines of a valid TOML text that say something: (number of the line, its tokens)."""
    line, start, depth = 1, 1, 0
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        kind, token = match.lastgroup, match[0]
        if kind == "newline" and depth == 0 and tokens:
            yield start, tokens
            tokens = []
        if kind in ("text", "mark", "bare"):
            if not tokens:
                start = line
            tokens.append(token)
            # The brackets of a header are closed on their own line, so they may be counted too.
            depth += (token in ("[", "{")) - (token in ("]", "}"))
        line += token.count("\n")
    if tokens:
        yield start, tokens


def _key(tokens: Sequence[str]) -> list[str]:
    parts = []
    for part in tokens:
        if part in ("=", "]"):
            break
        if part != ".":
            parts.append(tomllib.loads(f"x = {part}")["x"] if part[0] in "\"'" else part)
    return parts


# --- writing ----------------------------------------------------------------------------------------------------------


def format_jobs_file(specs: Sequence[JobSpec]) -> str:
    """The text that `parse_jobs_file` reads back as the same jobs; what is the default is left out."""
    header = "# Jobs of hrsync. `hrsync jobs apply FILE` takes it in; `--dry-run` shows what would change.\n"
    return "\n".join([header, *(_format_job(spec) for spec in specs)])


def _format_job(spec: JobSpec) -> str:
    trigger = next(key for key, kind in TRIGGER_KEYS.items() if kind == spec.trigger_kind)
    defaults = {field.name: field.default for field in dataclasses.fields(JobSpec)} | {"params": {}, "blackouts": ()}
    lines = ["[[job]]"]
    for key in JOB_KEYS:
        field = _FIELD_NAMES.get(key, key)
        if key in TRIGGER_KEYS:
            if key == trigger:
                lines.append(f"{key} = {_toml_value(spec.trigger_expression)}")
            continue
        value = getattr(spec, field)
        if field in defaults and value == defaults[field]:
            continue
        match key:
            case "jitter" | "max_lateness":
                text = _duration(value)
            case "blackout":
                text = f"[{', '.join(_format_blackout(window) for window in value)}]"
            case "params" if _holds_null(value):
                text = _toml_value(json.dumps(value, ensure_ascii=False))
            case _:
                text = _toml_value(value)
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def _format_blackout(window: Blackout) -> str:
    reason = f", reason = {_toml_value(window.reason)}" if window.reason else ""
    return f"{{ start = {_toml_value(window.start)}, end = {_toml_value(window.end)}{reason} }}"


def _duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f'"{int(seconds // size)}{unit}"'
    return f"{int(seconds) if seconds == int(seconds) else seconds!r}"


def _holds_null(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_null(item) for item in value.values())
    return value is None or (isinstance(value, list) and any(_holds_null(item) for item in value))


def _toml_value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case dt.datetime():
            return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z"
        case Mapping():
            return "{ " + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(_toml_value(item) for item in value) + "]"
        case _:
            return str(value) if isinstance(value, dt.date | dt.time) else repr(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)
