"""Reads XML files. Entities, with which a small file can grow without bound, are refused."""

import xml.etree.ElementTree as ElementTree
import xml.parsers.expat
from pathlib import Path

from unet_jax.errors import UserError


def read_xml(path: Path) -> ElementTree.Element:
    """Returns the root of an XML file.

    Raises:
      UserError: it cannot be read, or declares an entity.
    """

    def refuse(name: str, *_: object) -> None:
        raise UserError(
            f"{path}: declares the entity {name!r} in line {parser.CurrentLineNumber}; write its text where it is used"
        )

    builder = ElementTree.TreeBuilder()
    parser = xml.parsers.expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except (OSError, xml.parsers.expat.ExpatError) as error:
        # Of expat, the message holds line and column.
        raise UserError(f"{path}: is not XML ({error}); export it again") from error
    return builder.close()
