"""A view of the attack lab as a short Python script."""

from __future__ import annotations

from dataclasses import fields
from json import dumps as quote

from dverge.attacks import AnyConfig, StrongConfig, Through, Victim
from dverge.data import CLASSES, Split

SCRIPT = """\
from dverge import checkpoints
from dverge.attacks import {attacks}
from dverge.data import CLASSES, {data}
from dverge.exploration.examine import examine, model_names
{models}
ensemble = {ensemble}
{image}
outcome = examine(
    ensemble,
    image,
    label,
    {config},
    {victim},{more}
)
for model, said, verdict in zip(model_names(len(ensemble)), outcome.after, outcome.verdicts):
    print(f"{{model}}: {{CLASSES[said.argmax()]}} {{said.max():.1%}}, {{verdict}}")
"""
NUMBERED = """\
images = load(Split.{split})
position = images.indices.tolist().index({number})
image, label = images.pixels(position), int(images.labels[position])"""
OWN = """\
image = read_picture(Path("your-picture.png").read_bytes())
label = CLASSES.index({label})"""


def snippet(
    name: str,
    label: int,
    config: AnyConfig,
    victim: Victim,
    target: int | None = None,
    image: tuple[Split, int] | None = None,
) -> str:
    """A script that computes what the attack lab shows, and prints each model's prediction.

    Args:
        name: of the checkpoint.
        label: the image's true class, 0–9.
        config, victim, target: the attack; see examine.
        image: its split and its number in the official file; None for the user's own picture.
    """
    strong, load = isinstance(config, StrongConfig), f"checkpoints.load({quote(name)})"
    if image is None:
        data, lines = "read_picture", OWN.format(label=quote(CLASSES[label]))
    else:
        data, lines = "Split, load", NUMBERED.format(split=image[0].name, number=image[1])
    used = [type(config).__name__, "Norm", *_through(victim), "Victim"]
    more = [
        *([] if target is None else [f"target=CLASSES.index({quote(CLASSES[target])})"]),
        *([f"number={image[1]}"] if strong and image else []),
    ]
    script = SCRIPT.format(
        attacks=", ".join(used),
        data=data,
        models="from dverge.models import compiled\n" if strong else "",
        ensemble=f"compiled({load})" if strong else load,
        image=lines,
        config=_config(config),
        victim=_victim(victim),
        more="".join(f"\n    {each}," for each in more),
    )
    return "from pathlib import Path\n\n" + script if image is None else script


def _through(victim: Victim) -> list[str]:
    return [] if victim.through is Through.PROBABILITY else ["Through"]


def _victim(victim: Victim) -> str:
    if victim.member is not None:
        return f"Victim({victim.member})"
    return f"Victim(through=Through.{victim.through.name})" if _through(victim) else "Victim()"


def _config(config: AnyConfig) -> str:
    """The config as Python code, without the settings that have their default."""
    values = [(field, getattr(config, field.name)) for field in fields(config)[1:]]
    changed = [f"{field.name}={value!r}" for field, value in values if value != field.default]
    arguments = "".join(f"        {each},\n" for each in (f"Norm.{config.norm.name}", *changed))
    return f"{type(config).__name__}(\n{arguments}    )"
