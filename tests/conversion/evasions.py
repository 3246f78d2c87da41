"""Attacks on whoever opens a torch file, each a real file; `baseline.json` says which layer sees which.

Sources: the advisories of picklescan (CVE-2025-1716, -1889, -1944, -1945, -10155, -10156, -10157 and its
GHSAs), of torch (CVE-2025-32434), papers on pickle gadgets (arXiv 2508.19774), and APPNOTE.TXT. What
fires writes one line into the file that the environment names; the tests prove that none ever does.
"""

from __future__ import annotations

from tests.conversion import evasions_archives, evasions_pickles, evasions_symbols

EVASIONS: dict[str, bytes] = {
    **evasions_symbols.EVASIONS,
    **evasions_pickles.EVASIONS,
    **evasions_archives.EVASIONS,
}
# Those that run code when a pickle of theirs is loaded as it is, to prove that the canary sings.
LIVE: dict[str, bytes] = {**evasions_symbols.LIVE, **evasions_pickles.LIVE}
