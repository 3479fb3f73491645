"""Files in, files out: logits and labels from the formats people have, and files written whole or not at all.

`read.py` and `write.py` are what others use. Below `read.py` a file climbs three steps: `_load.py` makes a raw table or
raw arrays of it (`_text.py`: CSV and JSON; `_archives.py`: workbooks and archives; `_guard.py`: the limits),
`_drafts.py` finds logits, labels and names in them, and `_labels.py` checks the numbers and decodes the labels.
Importing this room loads NumPy and nothing else from outside the standard library.
"""

from .read import Batch, read_batch, read_vector
from .stream import Stream, open_stream, stream_of
from .write import write_atomically

__all__ = ["Batch", "Stream", "open_stream", "read_batch", "read_vector", "stream_of", "write_atomically"]
