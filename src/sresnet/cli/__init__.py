"""The command line: a file per verb, imported when the verb is called."""

import contextlib
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from sresnet.errors import UserError, mendable
from sresnet.printing import as_json, cut, drop, one_line, say

USAGE = """usage: sresnet VERB ...

  train RECIPE        train a network; the same command again resumes where it stopped
  evaluate RUN        accuracy of a trained network, also with fewer time steps
  finetune RUN        fine-tune a trained network on other data
  predict RUN FILE    classify pictures or event recordings
  convert RUN         make a spiking network of a trained ANN
  export RUN          write a network as a file for other programs: ONNX, torch.export, C, NIR
  push RUN NAME       send a trained network to the Hugging Face hub
  pull NAME           fetch one from there as a run
  import FILE         import a checkpoint of the paper's released code as a run
  analyse RUN         firing rates, operations and energy, hardware needs
  report RUN|STUDY... the above and more as one HTML page
  info MODEL|RUN|FILE layers, shapes, parameters and operations of a network
  data info PATH      what event recordings or pictures hold: a file, a folder, a list
  data view PATH      draw an event recording
  data prepare NAME   prepare the frames of event recordings in advance, or decode a folder of pictures
  data clean          remove such frames and pictures from the cache
  study NAME...       train what the paper's tables and figures need, and compare the numbers with the paper's
  search RECIPE       search hyper-parameters: many trainings of one recipe, the worse ones ended early
  list                models, recipes, data sets, pretrained networks

RUN may be the name of a pretrained network too.

sresnet VERB --help explains the options; --json prints results as JSON, and text on the error output; --debug shows the
traceback of an error. With train and info, --compat paper
or --compat released-code sets every field on which the paper and its released code differ (docs/paper-and-code.md)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 2 for the user's mistake, 1 for a bug in sresnet.

    3 is of `export --check` where a network does not fit a chip.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug, in_json = "--debug" in words, "--json" in words
    words = [word for word in words if word not in ("--debug", "--json")]
    run = _run_as_json if in_json and words[:1] and words[0] in VERBS else _run
    return answered(lambda: run([_at_home(word) for word in words]), debug=debug)


def answered(work: Callable[[], int], *, debug: bool = False) -> int:
    """The exit status of `work`; what it raises becomes one line on the error output.

    0 or what `work` returns; 2 for the user's mistake, and where the system refuses or memory does not suffice;
    130 where it is interrupted, 141 where the output has no reader; 1 for a bug in sresnet.
    """
    try:
        try:
            status = work()
        except SystemExit as stop:  # of a help text
            status = int(stop.code or 0)
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk is reported now, while it still can be
        return status
    except BrokenPipeError:  # the reader, such as head, has seen enough
        return 141  # as shells say it: 128 and the number of SIGPIPE
    except KeyboardInterrupt:
        _complain("interrupted: what was saved is kept; run the same command again to resume")
        return 130
    except Exception as error:
        if debug:
            raise
        said = str(error) if isinstance(error, UserError) else mendable(error)
        if said:
            _complain(said)
            return 2
        text = " ".join(str(error).split())
        _complain(f"{type(error).__name__}: {cut(text, 1000)}: this is a bug in sresnet; --debug shows where")
        return 1
    finally:
        _drop_unwritten()


def _complain(line: str) -> None:
    """Print the last line of a failed command; where it cannot be written, the exit status has to suffice."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        say(one_line(f"sresnet: {line}"), error=True, flush=True)


def _drop_unwritten() -> None:
    """Drop output that a full disk refused: Python would complain about it on exit, with status 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            drop(stream)
        except (ValueError, AttributeError):  # closed, or none
            pass


def _at_home(word: str) -> str:
    """A word of the command line with `~` as the home folder, also where the shell leaves it, as in --out=~/run.

    Raises:
        UserError: no home folder is known, or the word holds what no path can.
    """
    if "\0" in word:
        raise UserError(f"argument {word!r} holds a NUL character: leave it out")
    flag = named[0] if (named := re.match(r"--?[\w.-]+=", word)) else ""
    path = word.removeprefix(flag)
    if not path.startswith("~"):
        return word
    path = os.path.expanduser(path)
    if path == "~" or path.startswith("~/"):
        raise UserError(f"{word} is in the home folder, and none is known: set HOME, or write the path out")
    return flag + path


def _run_as_json(words: list[str]) -> int:
    """Call a verb with --json."""
    with as_json():
        return _run(words)


def _run(words: list[str]) -> int:
    """Find the verb and call it."""
    if not words or words[0] in ("-h", "--help"):
        say(*USAGE.splitlines())
        return 0
    if words[0] == "--version":
        from sresnet import __version__

        say(__version__)
        return 0
    if words[0] not in VERBS:
        from sresnet.config import closest

        raise UserError(f"verb {words[0]!r} is unknown: {closest(words[0], list(VERBS))}")
    return VERBS[words[0]](words[1:])


MODULES = {
    "train": "train",
    "evaluate": "evaluate",
    "finetune": "finetune",
    "predict": "predict",
    "analyse": "analyse",
    "report": "report",
    "convert": "convert",
    "export": "export",
    "search": "search",
    "import": "importing",
    "push": "hub",
    "pull": "hub",
    "info": "info",
    "data": "data",
    "study": "study",
    "list": "listing",
}
"""Verb -> its file in this folder, which has a function VERB_verb of the words behind the verb.

Two files cannot be called as their verbs: `import` is a word of Python's, and a file `list` would hide its `list` here.
`push` and `pull` share one.
"""

TOGETHER = ("train", "finetune")
"""Verbs that torchrun may start several times, to train together."""


def _call(verb: str, words: list[str]) -> int:
    """Import the file of a verb, and with it torch and all that the verb needs, and call its function.

    Raises:
        UserError: as `check_settings`, and what the verb raises.
    """
    from sresnet.processes import launched
    from sresnet.train.loop import check_settings

    check_settings()
    if verb not in TOGETHER and "TORCHELASTIC_RUN_ID" in os.environ and launched() > 1:
        if os.environ["LOCAL_RANK"] != "0":  # one says it
            raise SystemExit(2)
        raise UserError(f"sresnet {verb} runs in one process, and torchrun has started {launched()}: call it without")
    function: Callable[[list[str]], int] = getattr(import_module(f"sresnet.cli.{MODULES[verb]}"), f"{verb}_verb")
    return function(words)


VERBS: dict[str, Callable[[list[str]], int]] = {verb: partial(_call, verb) for verb in MODULES}
