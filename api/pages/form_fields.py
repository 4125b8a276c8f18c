"""Convert between an action's options and the fields of its form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from starlette.datastructures import ImmutableMultiDict

from api.http.body import parse_json
from resop.actions.catalog import Action
from resop.actions.command import Command
from resop.errors import InvalidOptions

JsonSchema = Mapping[str, Any]
FormData = ImmutableMultiDict[str, str]
Widget = Literal["text", "number", "secret", "check", "choice", "choices", "area", "lines", "json"]

FLAG_ONLY = ":alone"
"""The form field that names the options given without a value, as just `--flag`."""
LONG_TEXTS = frozenset(["script", "stdin"])
"""The options that get a large text box."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One option as a field of a form."""

    name: str
    label: str
    id: str
    box: Widget
    description: str
    required: bool
    secret: bool
    """Its value is never written into a page."""
    default: Any
    examples: Sequence[Any]
    choices: Sequence[Any]
    alone: bool
    """The option may be given without a value."""
    limits: Mapping[str, Any]
    """HTML attributes of its input that make the browser check the value."""

    def read(self, form: FormData) -> Any:
        """Return the option's value in a submitted form; None for an empty field."""
        if self.alone and self.name in form.getlist(FLAG_ONLY):
            return True
        texts = form.getlist(self.name)
        text = texts[0] if texts else ""
        match self.box:
            case "check":
                # A browser does not send an unchecked box.
                checked = bool(texts)
                return None if checked == bool(self.default) else checked
            case "choices":
                return [self._choice(each) for each in texts] or None
            case "lines":
                return [line for line in text.splitlines() if line.strip()] or None
            case _ if text == "":
                return None
            case "choice":
                return self._choice(text)
            case "json":
                return self._json(text)
        return text

    def write(self, value: Any) -> list[str]:
        """Return the texts that the form sends for a value; none for a secret."""
        if value is None or self.secret:
            return []
        match self.box:
            case "json":
                return [json.dumps(value, ensure_ascii=False, indent=2)]
            case "check":
                return ["true"] if value is True else []
            case "choices":
                return [_text(each) for each in value]
            case "lines":
                return ["\n".join(map(_text, value))]
        return [shlex.join(map(_text, value)) if isinstance(value, list) else _text(value)]

    @property
    def example(self) -> str:
        """An example of an entry; empty if there is none."""
        return next(iter(self.write(next(iter(self.examples), None))), "")

    def _choice(self, text: str) -> Any:
        """Return the choice that a text stands for: 1 for '1', True for 'true'."""
        return next((each for each in self.choices if _text(each) == text), text)

    def _json(self, text: str) -> Any:
        try:
            return parse_json(text)
        except ValueError as fault:
            faults = [{"field": self.name, "message": f"is not valid JSON: {fault}"}]
            raise InvalidOptions(faults) from None


def fields_of(action: Action) -> list[FormField]:
    """Return the fields of an action's form: required ones first, then a command's arguments."""
    schema = action.options.model_json_schema()
    required, definitions = schema.get("required", []), schema.get("$defs", {})
    entries = action.entry.options if isinstance(action, Command) else {}
    fields = []
    for number, (name, option) in enumerate(schema.get("properties", {}).items(), 1):
        entry = entries.get(name)
        if entry is not None and entry.form is False:
            continue
        kinds = list(_kinds(option, definitions))
        types = {kind.get("type") for kind in kinds}
        box, choices = _box(name, kinds, definitions)
        default = option.get("default")
        if types == {"boolean"} and (entry.type == "flag" if entry else default is not None):
            box = "check"
        fields.append(
            FormField(
                name=name,
                label=name,
                id=f"option-{number}",
                box=box,
                description=option.get("description", ""),
                required=name in required,
                secret=_is_secret(option, definitions),
                default=default,
                examples=[example[name] for example in action.examples if name in example],
                choices=choices,
                alone=types == {"string", "boolean"},
                limits=_limits(box, kinds),
            )
        )
    return sorted(fields, key=lambda field: (not field.required, field.name != "input"))


def options_in(fields: Iterable[FormField], form: FormData) -> dict[str, Any]:
    """Return the options of a submitted form, not yet validated.

    Names without a field are included, so that validation reports them. Raises InvalidOptions for a
    text that cannot be read as a value.
    """
    known = {field.name for field in fields}
    options: dict[str, Any] = {
        name: text for name, text in form.items() if name not in known and not name.startswith(":")
    }
    faults: list[dict[str, str]] = []
    for field in fields:
        try:
            value = field.read(form)
        except InvalidOptions as fault:
            faults += fault.details["faults"]
        else:
            options |= {} if value is None else {field.name: value}
    if faults:
        raise InvalidOptions(faults)
    return options


def form_for(fields: Iterable[FormField], options: Mapping[str, Any]) -> FormData:
    """Return a form filled in with options and defaults; secrets are left empty."""
    pairs = []
    for field in fields:
        value = options.get(field.name, field.default)
        if field.alone and value is True:
            pairs.append((FLAG_ONLY, field.name))
        else:
            pairs += [(field.name, text) for text in field.write(value)]
    return FormData(pairs)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kinds(option: JsonSchema, definitions: JsonSchema) -> Iterator[JsonSchema]:
    """Yield the schema of each type of value that an option takes, except null."""
    if "$ref" in option:
        yield from _kinds(definitions[option["$ref"].rpartition("/")[2]], definitions)
    elif "anyOf" in option:
        for each in option["anyOf"]:
            yield from _kinds(each, definitions)
    elif option.get("type") != "null":
        yield option


def _box(
    name: str, kinds: Sequence[JsonSchema], definitions: JsonSchema
) -> tuple[Widget, Sequence[Any]]:
    """Return the widget for an option, and its choices."""
    types = {kind.get("type") for kind in kinds}
    first = kinds[0] if kinds else {}
    if choices := _choices(first):
        return "choice", choices
    if types == {"boolean"}:
        return "choice", [True, False]
    if types == {"array"}:
        items = list(_kinds(first.get("items", {}), definitions))
        if len(items) == 1 and (choices := _choices(items[0])):
            return "choices", choices
        simple = {item.get("type") for item in items} <= {"string", "integer", "number"}
        return ("lines" if simple else "json"), []
    if types and types <= {"integer", "number"}:
        return "number", []
    if "string" not in types:
        return "json", []
    if first.get("format") == "password":
        return "secret", []
    long = name in LONG_TEXTS or first.get("pattern", "").startswith("^#!")
    return ("area" if long else "text"), []


def _choices(kind: JsonSchema) -> Sequence[Any]:
    return [kind["const"]] if "const" in kind else kind.get("enum", [])


def _limits(box: Widget, kinds: Sequence[JsonSchema]) -> dict[str, Any]:
    first = kinds[0] if kinds else {}
    if box == "number":
        fine = {} if all(kind.get("type") == "integer" for kind in kinds) else {"step": "any"}
        names = {"minimum": "min", "maximum": "max"}
    else:
        fine, names = {}, {"maxLength": "maxlength"} if box in ("text", "secret") else {}
    return {**fine, **{html: first[name] for name, html in names.items() if name in first}}


def _is_secret(value: Any, definitions: JsonSchema, seen: frozenset[str] = frozenset()) -> bool:
    """Return True if a schema contains a secret at any depth."""
    if isinstance(value, list):
        return any(_is_secret(each, definitions, seen) for each in value)
    if not isinstance(value, dict):
        return False
    if value.get("format") == "password":
        return True
    if (reference := value.get("$ref")) and reference not in seen:
        target = definitions[reference.rpartition("/")[2]]
        return _is_secret(target, definitions, seen | {reference})
    return any(_is_secret(each, definitions, seen) for each in value.values())
