"""Which class is which part of a stack: its two kinds of plates, and the stack itself where it has a class."""

import dataclasses
from collections.abc import Sequence

from unet_jax.errors import UserError

# Words of the names of classes, the surest first.
ANODE_WORDS = ("anode", "negative", "plate")
CATHODE_WORDS = ("cathode", "positive")
STACK_WORDS = ("stack",)


@dataclasses.dataclass(frozen=True)
class Roles:
    """The classes of a stack, by name.

    Attributes:
      anode: the plates whose overhang is measured: the negative electrode.
      cathode: the plates of the other kind; "" where they have no class.
      stack: that from which the plates come out; "" where they come from the border of the image.
    """

    anode: str
    cathode: str = ""
    stack: str = ""

    @property
    def plates(self) -> tuple[str, ...]:
        """The classes of plates; the number of a kind is its place."""
        return (self.anode, self.cathode) if self.cathode else (self.anode,)

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes."""
        return (*self.plates, *([self.stack] if self.stack else []))

    def channels(self, class_names: Sequence[str]) -> tuple[list[int], int | None]:
        """Returns the channels of the plates, and that of the stack or None, in masks of these classes."""
        places = [list(class_names).index(name) for name in self.classes]
        return places[: len(self.plates)], places[-1] if self.stack else None


def find_roles(class_names: Sequence[str], anode: str = "", cathode: str = "", stack: str = "") -> Roles:
    """Returns the roles of classes: as they are given, or else as their names say.

    >>> find_roles(("background", "anode", "cathode"))
    Roles(anode='anode', cathode='cathode', stack='')
    >>> find_roles(("background", "stack", "plate"))
    Roles(anode='plate', cathode='', stack='stack')

    Args:
      class_names: of the network or of the masks.
      anode: the class of the negative plates; "" for the one whose name has a word of `ANODE_WORDS`.
      cathode: that of the positive plates, likewise.
      stack: that of the stack, likewise.

    Raises:
      UserError: a class is unknown, has two roles, or no class can be that of the anodes.
    """
    given = {"anode": anode, "cathode": cathode, "stack": stack}
    for flag, name in given.items():
        if name and name not in class_names:
            raise UserError(f"--{flag}={name}: there is no such class; choose from {', '.join(class_names)}")
    words = {"anode": ANODE_WORDS, "cathode": CATHODE_WORDS, "stack": STACK_WORDS}
    taken = [name for name in given.values() if name]
    for flag in given:
        if not given[flag]:
            free = [name for name in class_names if name not in taken]
            given[flag] = _named(free, words[flag])
            taken.append(given[flag])
    if not given["anode"]:
        raise UserError(
            f"plates: no class of {', '.join(class_names)} is named {', '.join(ANODE_WORDS[:-1])} or {ANODE_WORDS[-1]}; name "
            "that of the plates with --anode=CLASS"
        )
    roles = Roles(**given)
    if len(set(roles.classes)) < len(roles.classes):
        raise UserError(
            f"--anode={roles.anode} --cathode={roles.cathode} --stack={roles.stack}: a class has one role; give different ones"
        )
    return roles


def _named(class_names: Sequence[str], words: Sequence[str]) -> str:
    """Returns the class whose name has one of the words; "" if no class or several have the first word that is found."""
    for word in words:
        names = [name for name in class_names if word in name.lower()]
        if names:
            return names[0] if len(names) == 1 else ""
    return ""
