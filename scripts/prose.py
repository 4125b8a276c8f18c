#!/usr/bin/env python3
"""Check that texts use plain English and the words of docs/architecture.md.

Reads docstrings, comments and messages of Python files, comments of scripts and settings, *.md,
descriptions in commands.yml, and HTML templates. Code, names in backticks and code blocks of
Markdown do not count.

    scripts/prose.py [FILE …]           check these files, or all that git tracks
    scripts/prose.py --self-test        check that each rule finds its own bad example
    scripts/prose.py --count            how often each rule is broken, in all files
"""

from __future__ import annotations

import argparse
import ast
import collections
import inspect
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
RULES_FILE = Path(__file__).with_name("prose_rules.yml")
EXEMPT = ("scripts/prose", "tests/unit/scripts/", "LICENSE", "constraints.txt")
"""Files that quote the words."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Patterns, what to write instead, and an example that breaks the rule."""

    pattern: str
    advice: str
    bad: str
    allowed: str = "(?!)"
    """Text in which the word is right."""
    good: str = ""
    """An example of it."""
    opening: bool = False
    """True for a rule about the first words of a docstring."""

    def find(self, text: str) -> Iterator[re.Match[str]]:
        """Yield the matches that are not allowed."""
        spans = [each.span() for each in re.finditer(self.allowed, text, re.IGNORECASE)]
        for match in re.finditer(self.pattern, text, re.IGNORECASE):
            if not any(start < match.end() and match.start() < end for start, end in spans):
                yield match


def read_rules() -> list[Rule]:
    """Read the rules; a list of patterns stands for any of them."""
    rules = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    for rule in rules:
        rule.update({key: "|".join(each) for key, each in rule.items() if isinstance(each, list)})
    return [Rule(**rule) for rule in rules]


RULES = read_rules()

STRING_WORDS = 3
"""A string of fewer words is a name or a format, not a message."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Text with the line where it begins."""

    line: int
    text: str
    opens: bool = False
    """True for a docstring: its first words are checked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A place where a rule is broken."""

    line: int
    match: str
    rule: Rule


# -- reading texts


def passages(name: str, content: str) -> Iterator[Passage]:
    """Yield the texts of a file, by the kind of file that its name tells."""
    file = Path(name)
    if file.suffix == ".py":
        yield from _python(content, messages=not name.startswith(("tests/", "bench/")))
    elif file.suffix == ".md":
        yield from _markdown(content)
    elif file.suffix in (".html", ".jinja"):
        yield from _html(content)
    elif file.suffix in (".yml", ".yaml"):
        yield from _comments(content)
        yield from _descriptions(content)
    elif file.suffix in (".sh", ".env", ".toml", ".conf", ".cnf") or _is_script(file, content):
        yield from _comments(content)


def _is_script(file: Path, content: str) -> bool:
    return file.name in ("Makefile", "Dockerfile") or content.startswith("#!")


def _python(content: str, *, messages: bool) -> Iterator[Passage]:
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("#:! ")
            if not re.match(r"(noqa|nosec|type:|pragma|/)", text):
                yield Passage(token.start[0], re.split(r"# ?(noqa|nosec)", text)[0])
    tree = ast.parse(content)
    docstrings = set(_docstrings(tree))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) and messages:
            parts = [p.value for p in node.values if isinstance(p, ast.Constant)]
            if _is_message(text := " … ".join(map(str, parts))):
                yield Passage(node.lineno, text)
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in docstrings:
            yield Passage(node.lineno, inspect.cleandoc(node.value), opens=True)
        elif messages and id(node) not in inside and _is_message(node.value):
            yield Passage(node.lineno, node.value)


def _docstrings(tree: ast.AST) -> Iterator[int]:
    """Yield the ids of docstrings, those below an attribute included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                yield id(statement.value)


def _is_message(text: str) -> bool:
    words = re.findall(r"(?<![\w\\{<$-])[A-Za-z][a-z']*(?![\w=(<{])", text)
    return len(words) >= STRING_WORDS and not re.search(r"\b(SELECT|CREATE|UPDATE|import)\b", text)


def _markdown(content: str) -> Iterator[Passage]:
    fenced = False
    paragraph: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], 1):
        if line.lstrip().startswith(("```", "~~~")):
            fenced = not fenced
        elif not fenced and line.strip() and not line.startswith(("    ", "\t")):
            paragraph.append(line)
            continue
        if paragraph:
            yield Passage(number - len(paragraph), "\n".join(paragraph))
        paragraph = []


def _html(content: str) -> Iterator[Passage]:
    blank = re.compile(
        r"\{%.*?%\}|\{\{.*?\}\}|\{#.*?#\}|<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL
    )
    shown = blank.sub(lambda match: "\n" * match[0].count("\n") or " ", content)
    for number, line in enumerate(shown.splitlines(), 1):
        yield Passage(number, line)


def _comments(content: str) -> Iterator[Passage]:
    block: list[str] = []
    for number, line in enumerate([*content.splitlines(), ""], 1):
        comment = re.match(r"\s*#(?!!|[A-Z_]+=)(.*)", line) or re.search(
            r"\s{1,}# (?!\{)(.*)$", line
        )
        if comment:
            block.append(comment[1].strip())
            continue
        if block:
            yield Passage(number - len(block), "\n".join(block))
        block = []


def _descriptions(content: str) -> Iterator[Passage]:
    def walk(node: yaml.Node | None) -> Iterator[Passage]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "description" and isinstance(value, yaml.ScalarNode):
                    yield Passage(value.start_mark.line + 1, value.value)
                yield from walk(value)
        elif isinstance(node, yaml.SequenceNode):
            for each in node.value:
                yield from walk(each)

    for document in yaml.compose_all(content, yaml.SafeLoader):
        yield from walk(document)


_NOT_PROSE = re.compile(
    r"``.*?``|`[^`]*`|<a [^>]*>|https?://\S+|(?<=\]\()[^)]*(?=\))|^>>> .*$|^ {4,}\S.*$(?<!\.)",
    re.MULTILINE,
)


def check(name: str, content: str) -> list[Finding]:
    """Return what is found in a file."""
    findings = []
    for passage in passages(name, content):
        text = _NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", "¤", match[0]), passage.text)
        joined = text.replace("\n", " ")
        for rule in RULES:
            for match in rule.find(joined) if passage.opens or not rule.opening else ():
                line = passage.line + text.count("\n", 0, match.start())
                findings.append(Finding(line, match[0].strip(), rule))
    return sorted(set(findings), key=lambda each: (each.line, each.match, each.rule.advice))


# -- the command line


def tracked() -> list[str]:
    """Return the files that git tracks, or would."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if not name.startswith(EXEMPT)]


def check_files(names: list[str]) -> dict[str, list[Finding]]:
    """Return the findings of each file that has some."""
    found = {}
    for name in names:
        file = ROOT / name
        try:
            content = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):  # removed, a folder, or no text
            continue
        try:
            findings = check(name, content)
        except (SyntaxError, tokenize.TokenError, yaml.YAMLError):
            continue  # ruff and the tests say so
        if findings:
            found[name] = findings
    return found


def self_test() -> None:
    """Raise AssertionError for a rule that does not find its bad example, or finds its good one."""
    for rule in RULES:
        assert list(rule.find(rule.bad)), f"{rule.pattern} does not find: {rule.bad}"
        assert not list(rule.find(rule.good)), f"{rule.pattern} finds: {rule.good}"


def main() -> None:
    """Run the command line; exit with 1 when something is found."""
    parser = argparse.ArgumentParser(description="Check that texts use plain English.")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("--count", action="store_true")
    arguments = parser.parse_args()
    self_test()
    if arguments.self_test:
        return
    files = [Path(name).resolve().relative_to(ROOT).as_posix() for name in arguments.files]
    chosen = [name for name in files if not name.startswith(EXEMPT)] if files else tracked()
    found = check_files(chosen)
    if arguments.count:
        counted = collections.Counter(
            each.rule.advice for findings in found.values() for each in findings
        )
        for advice, count in counted.most_common():
            print(f"{count:>5}  {advice}")
        print(f"{counted.total():>5}  in {len(found)} files")
        return
    for name, findings in found.items():
        for each in findings:
            print(f"{name}:{each.line}: '{each.match}': {each.rule.advice}")
    if found:
        sys.exit(f"{sum(map(len, found.values()))} places in {len(found)} files")


if __name__ == "__main__":
    main()
