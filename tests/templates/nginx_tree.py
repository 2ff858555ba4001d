"""Reads Nginx configuration into a tree, so that a test can say where a directive stands."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

# A comment, a quoted string, a brace or semicolon, or a bare word (which may hold ${variables}).
TOKEN = re.compile(r"""\s+|\#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{};]|[^\s{};"']+""")


@dataclass
class Directive:
    """One directive: its name, its arguments and, for a block, what stands in it."""

    name: str
    args: tuple[str, ...] = ()
    block: list["Directive"] = field(default_factory=list)

    def __str__(self) -> str:
        return " ".join((self.name, *self.args))

    def own(self, name: str) -> list["Directive"]:
        """Return the directives of that name that stand directly in this block."""
        return [child for child in self.block if child.name == name]

    def all(self, name: str) -> list["Directive"]:
        """Return the directives of that name at any depth."""
        return [child for child in self.walk() if child.name == name]

    def walk(self) -> Iterator["Directive"]:
        for child in self.block:
            yield child
            yield from child.walk()

    def only(self, name: str) -> "Directive":
        """Return the one directive of that name in this block; any other number is an error."""
        (found,) = self.own(name)
        return found

    def location(self, *args: str) -> "Directive":
        (found,) = [child for child in self.own("location") if child.args == args]
        return found


def parse(name: str, files: dict[str, str]) -> Directive:
    """Read the file of that name, each `include` replaced by the file's directives."""
    tokens = [t for t in TOKEN.findall(files[name]) if t.strip() and not t.startswith("#")]
    root = Directive(name)
    stack, words = [root], list[str]()
    for token in tokens:
        if token == ";":
            directive, words = Directive(words[0], tuple(words[1:])), []
            if directive.name == "include":
                stack[-1].block += parse(directive.args[0], files).block
            else:
                stack[-1].block.append(directive)
        elif token == "{":
            directive, words = Directive(words[0], tuple(words[1:])), []
            stack[-1].block.append(directive)
            stack.append(directive)
        elif token == "}":
            assert not words, f"{name}: {words} lacks its semicolon"
            stack.pop()
        else:
            words.append(token[1:-1] if token[0] in "\"'" else token)
    assert stack == [root], f"{name}: a brace stays open"
    assert not words, f"{name}: {words} lacks its semicolon"
    return root
