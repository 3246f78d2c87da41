"""Unpack the age test vectors from the npm package `cctv-age`, for who has no copy beside the checkout.

The package is a JavaScript module that holds each file as base64. Its text is searched, never run.
Usage (see `make vectors`): python -m tests.sealing.unpack_vectors PACKAGE.tgz FOLDER
"""

from __future__ import annotations

import base64
import re
import sys
import tarfile
from pathlib import Path

_VECTOR = re.compile(
    r'^// \.\./testdata/([a-z0-9_]+)\nvar \w+ = __toBinary\("([A-Za-z0-9+/=]+)"\);', re.M
)


def unpack(package: Path, folder: Path) -> int:
    """Write every vector of the package into `folder`; return how many."""
    with tarfile.open(package) as archive:
        member = archive.extractfile("package/index.js")
        if member is None:
            raise SystemExit(f"{package} has no package/index.js")
        text = member.read().decode("ascii")
    folder.mkdir(parents=True, exist_ok=True)
    vectors = _VECTOR.findall(text)
    for name, encoded in vectors:
        (folder / name).write_bytes(base64.b64decode(encoded, validate=True))
    return len(vectors)


if __name__ == "__main__":
    sys.stdout.write(f"{unpack(Path(sys.argv[1]), Path(sys.argv[2]))} vectors\n")
