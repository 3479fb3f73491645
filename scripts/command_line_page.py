"""Print docs/command-line.md from the Click commands, so that the page cannot say anything else than they do.

python scripts/command_line_page.py > docs/command-line.md
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from textwrap import dedent, fill

import click

from labelsmooth.cli import main

HEAD = """\
# Command line

`scripts/command_line_page.py` prints this page from the commands themselves; `labelsmooth COMMAND --help` says the same.

Results go to standard output, progress and messages to standard error. With `--json` the result is one object with a
`schema_version`; keys may be added to it, and are not renamed or removed while that number stays. An existing file is replaced
only with `--force`. `-` for a file is standard input.

| exit code | meaning |
|---|---|
| 0 | done, or the same |
| 1 | it differs |
| 2 | a command that cannot be run, or input that cannot be read: one line says what came, what was expected, what to do |

```console
$ labelsmooth lost batch.csv
labelsmooth: there is no command 'lost'. Did you mean 'loss'?
```
"""
COMPLETION = """\
## Completion

Click brings it. For bash, once a shell or in `~/.bashrc` (`zsh_source` and `fish_source` likewise):

```sh
eval "$(_LABELSMOOTH_COMPLETE=bash_source labelsmooth)"
```
"""


def page() -> Iterator[str]:
    """The page, part by part."""
    yield HEAD
    commands = [(name, main.commands[name]) for name in sorted(main.commands) if not main.commands[name].hidden]
    yield "| command | does |\n|---|---|"
    yield from (f"| [`{name}`](#labelsmooth-{name}) | {_cell(_summary(command))} |" for name, command in commands)
    shared = _shared()
    for name, command in commands:
        yield from _command(name, command, shared)
    yield "\n## Options of every command that reads a batch\n"
    yield from _table(shared)
    yield f"\n{COMPLETION}"


def _command(name: str, command: click.Command, shared: list[click.Option]) -> Iterator[str]:
    """A command: its line, what it does, its examples and its own options."""
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    yield f"\n## labelsmooth {name}\n"
    yield f"```sh\n{' '.join(['labelsmooth', name, '[OPTIONS]', *arguments])}\n```\n"
    for part in (command.help or "").split("\n\n"):
        lead, unwrapped, lines = part.partition("\b\n")
        yield (
            _block(dedent(lines).strip())
            if unwrapped and not lead.strip()
            else fill(" ".join(part.split()), 128) + "\n"
        )
    known = {(_names(o), o.help) for o in shared}
    own = [o for o in _options(command) if (_names(o), o.help) not in known]
    yield from _table(own)
    if len(own) + len(known) <= len(_options(command)):
        yield "\nAnd the [options of every command that reads a batch](#options-of-every-command-that-reads-a-batch)."


def _block(text: str) -> str:
    """An unwrapped part: a heading and lines that are indented under it."""
    head, _, rest = text.partition("\n")
    return f"{head}\n\n```sh\n{dedent(rest)}\n```\n"


def _shared() -> list[click.Option]:
    """What reads a batch and does nothing else is `loss`: its options are those of every such command."""
    return [o for o in _options(main.commands["loss"]) if o.name != "as_json"]


def _options(command: click.Command) -> list[click.Option]:
    return [p for p in command.params if isinstance(p, click.Option)]


def _table(options: Iterable[click.Option]) -> Iterator[str]:
    rows = [f"| {_names(o)}{_value(o)} | {_cell(o.help or '')}{_default(o)} |" for o in options if not o.hidden]
    if rows:
        yield "| option | says |\n|---|---|"
        yield from rows


def _names(option: click.Option) -> str:
    return " ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    shown = option.make_metavar(click.Context(main)).strip("[]").replace("|", " \\| ")
    return f" {shown}"


def _default(option: click.Option) -> str:
    shown = option.default
    if option.is_flag or shown is None or not option.show_default:
        return " Required." if option.required else ""
    return f" Default: `{shown}`."


def _summary(command: click.Command) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a pipe on Windows is not
    sys.stdout.write("\n".join(page()).rstrip("\n") + "\n")
