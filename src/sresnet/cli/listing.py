"""`sresnet list`."""

from sresnet.cli.parse import wants_help
from sresnet.data import DATA_SETS
from sresnet.errors import UserError
from sresnet.models import list_models, list_pretrained
from sresnet.models.pretrained import facts_of, shipped
from sresnet.printing import give, say
from sresnet.studies.published import published_as
from sresnet.train.recipes import RECIPES


def _published(model: str) -> str:
    """What Table 14 quotes of a network of others."""
    found = ", ".join(f"{entry.accuracy:.2f} % on {entry.data}" for entry in published_as(model))
    return f"; published (Table 14): {found}" if found else ""


def list_verb(words: list[str]) -> int:
    """`sresnet list`."""
    if words and not wants_help(words):
        raise UserError(f"argument {words[0]!r} is one too many: sresnet list takes none")
    groups = {
        "models": {name: line + _published(name) for name, line in list_models().items()},
        "recipes": {name: line for name, (line, _) in RECIPES.items()},
        "data sets": DATA_SETS,
        "pretrained": list_pretrained(),
    }
    give(groups | {"pretrained": {name: facts_of(card) for name, card in shipped().items()}})
    for group, entries in groups.items():
        say(f"{group}:", *(f"  {name:24} {line}" for name, line in entries.items()))
    return 0
