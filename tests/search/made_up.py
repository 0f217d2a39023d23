"""Searches that nobody ran, for tests of what is made of them."""

from dataclasses import replace

from sresnet.search.config import SearchConfig
from sresnet.search.space import dimension
from sresnet.search.trials import Outcome, Trial
from sresnet.studies.searches import BY_CONNECTION, BY_STEPS, FOR_TABLE_9
from sresnet.train.recipes import RECIPES

SMALL = RECIPES["cifar10-small"][1]
FIELDS = {"model.leak": "0.3:0.999", "train.learning_rate": "0.01:1:log"}


def config_of(**model):
    """Leak and learning rate of a small network, on 4,000 held-out images."""
    data = replace(SMALL.data, train_images=20_000, validation=0.2)
    recipe = replace(SMALL, model=replace(SMALL.model, **model), data=data)
    space = {field: dimension(field, text, recipe) for field, text in FIELDS.items()}
    return SearchConfig(recipe=recipe, space=space, sampler="bohb")


def trial(number, leak, accuracy, state="finished"):
    """One of these; a trial that is not finished has ended after its first epoch."""
    finished = state == "finished"
    return Trial(
        number=number,
        state=state,
        values={"model.leak": leak, "train.learning_rate": 0.0268 if number == 0 else 0.1},
        accuracies=((1, accuracy / 2), *(((5, accuracy),) if finished else ())),
        objectives=(accuracy,) if finished else (),
        seconds=60.0,
        fault="loss is nan at step 3" if state == "diverged" else "",
    )


def search_of(leaks, first=50.0, accuracy=60.0, **model):
    """The paper's values first, which are the worst; these leaks, each a hundredth of a point less accurate than the
    one before; and a trial that ended early, which has another leak and would be the best."""
    found = [trial(0, 0.874, first)]
    found += [trial(at, leak, accuracy - at / 100) for at, leak in enumerate(leaks, start=1)]
    early = trial(len(found), 0.4, 99.0, "ended early")
    environment = {"sresnet": "0.1.0", "revision": "0" * 40, "device": "a processor", "threads": 1}
    return Outcome(config=config_of(**model), trials=(*found, early), environment=environment)


LEAKS = (0.80, 0.82, 0.84, 0.86, 0.88, 0.90)


def all_searches():
    """Name -> search, of all that studies read."""
    return {
        FOR_TABLE_9: search_of(LEAKS),
        **{name: search_of(LEAKS, num_steps=steps) for steps, name in BY_STEPS.items()},
        **{name: search_of(LEAKS, connection=connection) for connection, name in BY_CONNECTION.items()},
    }
