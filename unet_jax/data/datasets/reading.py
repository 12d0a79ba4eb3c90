"""How image files are read: the same in preparation, training, evaluation and prediction."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Reading:
    """Says what a file does not tell, or what is taken of it. The values by default take every file as it describes itself.

    Attributes:
      axes: what each dimension of a file is, a letter each, outermost first: Y rows, X columns, C or S channels; any other
        letter, such as Z or T, counts pictures. "" takes what the file says. See `formats.axes`.
      channels: the channels that are kept, counted from 0, in this order; () keeps all.
      nan: "error" refuses an image with a pixel that is NaN or infinite; "void" reads it, and the pixel is void.
      missing_chunks: "error" refuses a Zarr array in which a chunk is missing; "fill" reads its fill value.
    """

    axes: str = ""
    channels: tuple[int, ...] = ()
    nan: str = "error"
    missing_chunks: str = "error"
