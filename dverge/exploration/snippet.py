"""A view of the attack lab as a short Python script."""

from __future__ import annotations

from dataclasses import fields
from json import dumps as quote

from dverge.attacks import AttackConfig, Victim
from dverge.data import CLASSES, Split

SCRIPT = """\
from dverge import checkpoints
from dverge.attacks import AttackConfig, Norm, Victim
from dverge.data import CLASSES, {imports}
from dverge.exploration.examine import examine, model_names

ensemble = checkpoints.load({name})
{image}
outcome = examine(
    ensemble,
    image,
    label,
    {config},
    {victim},{target}
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
    config: AttackConfig,
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
    if image is None:
        imports, lines = "read_picture", OWN.format(label=quote(CLASSES[label]))
    else:
        imports, lines = "Split, load", NUMBERED.format(split=image[0].name, number=image[1])
    script = SCRIPT.format(
        imports=imports,
        name=quote(name),
        image=lines,
        config=_config(config),
        victim="Victim()" if victim.member is None else f"Victim({victim.member})",
        target="" if target is None else f"\n    target=CLASSES.index({quote(CLASSES[target])}),",
    )
    return "from pathlib import Path\n\n" + script if image is None else script


def _config(config: AttackConfig) -> str:
    """The config as Python code, without the settings that have their default."""
    values = [(field, getattr(config, field.name)) for field in fields(config)[1:]]
    changed = [f"{field.name}={value!r}" for field, value in values if value != field.default]
    arguments = "".join(f"        {each},\n" for each in (f"Norm.{config.norm.name}", *changed))
    return f"AttackConfig(\n{arguments}    )"
