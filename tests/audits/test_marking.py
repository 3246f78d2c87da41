"""Copies are marked, and suspects compared, in the isolated child; the parent believes no word of it."""

import os

import pytest

from registry.artifacts.notes import PayloadForm
from registry.audits.listening import Heard
from registry.audits.marking import Evidence, make_marked, weigh_suspect
from registry.audits.runner import AuditWorker
from registry.audits.sealed_memory import is_fixed, map_memory, seal_memory
from registry.audits.task import ChildDeath, DeathCause
from registry.errors import ContentMismatchError, FormatError, LorasealError
from registry.formats.canonical import dump_canonical
from tests.fingerprints.marked import adapter, packed

SEEDS = tuple(bytes([number]) * 32 for number in range(1, 5))
RAW = PayloadForm.RAW
GOOD = {
    "chips": 1,
    "cosine": "1",
    "largest_change": "0",
    "left": 0,
    "modules": 1,
    "version": 1,
}


@pytest.fixture(scope="module")
def worker():
    with AuditWorker() as started:
        yield started


@pytest.fixture
def payload():
    descriptor = seal_memory([packed(adapter())])
    yield descriptor
    os.close(descriptor)


class Says:
    """Ears that hear what a hostile child would say, and may change the copy."""

    def __init__(self, *lines, death=None, spoil=None):
        self.words = b"".join(dump_canonical(line) + b"\n" for line in lines)
        self.death, self.spoil = death, spoil

    def hear(self, request, descriptors, limits):
        if self.spoil is not None:
            os.pwrite(descriptors[0], b"\xff", self.spoil)
        return Heard(self.words, self.death, 0)


HEAD, END = {"confinement": {}}, {"done": True}


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (HEAD, END),
        (HEAD, {"marked": GOOD}),
        (HEAD, {"marked": {**GOOD, "more": 1}}, END),
        (HEAD, {"marked": {**GOOD, "chips": "many"}}, END),
        (HEAD, {"weighed": {}}, END),
        (HEAD, {"marked": GOOD}, {"marked": GOOD}, END),
    ],
)
def test_words_that_break_the_protocol_are_refused(payload, lines):
    with pytest.raises(FormatError):
        make_marked(Says(*lines), payload, (RAW, "a.safetensors"), SEEDS[0])


def test_a_copy_that_differs_beyond_its_factors_is_refused(payload):
    ears = Says(HEAD, {"marked": GOOD}, END, spoil=os.fstat(payload).st_size // 50)
    with pytest.raises(ContentMismatchError):
        make_marked(ears, payload, (RAW, "a.safetensors"), SEEDS[0])


def test_a_child_that_died_is_an_error_and_no_copy(payload):
    ears = Says(death=ChildDeath(DeathCause.CRASH, "it was ended by signal 11"))
    with pytest.raises(LorasealError, match="did not finish"):
        make_marked(ears, payload, (RAW, "a.safetensors"), SEEDS[0])


def test_too_small_an_adapter_is_refused_with_the_reason(worker):
    descriptor = seal_memory([packed(adapter(2))])
    try:
        with pytest.raises(FormatError, match="chips"):
            make_marked(worker, descriptor, (RAW, "a.safetensors"), SEEDS[0])
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [["1", "2", "3"]] * 3,
        [["1", "2"]] * 4,
        [["x", "2", "3"]] * 4,
        [["nan", "2", "3"]] * 4,
        [["1e999", "2", "3"]] * 4,
    ],
)
def test_scores_that_do_not_fit_the_seeds_are_refused(payload, rows):
    ears = Says(HEAD, {"weighed": {"modules": 1, "of": 1, "rows": rows, "tests": 1}}, END)
    with pytest.raises(FormatError):
        weigh_suspect(ears, Evidence(payload, payload, seeds=SEEDS))


def test_no_seed_asks_nobody(payload):
    with pytest.raises(LorasealError, match="0 seeds"):
        weigh_suspect(Says(), Evidence(payload, payload))


def test_a_marked_copy_names_its_seed_and_no_other(worker, payload):
    copy = make_marked(worker, payload, (RAW, "a.safetensors"), SEEDS[2])
    try:
        assert is_fixed(copy.descriptor)
        assert map_memory(copy.descriptor) != map_memory(payload)
        evidence = Evidence(copy.descriptor, payload, seeds=SEEDS)
        found = weigh_suspect(worker, evidence)
    finally:
        os.close(copy.descriptor)
    strong = [place for place, score in enumerate(found.scores) if score.z > 10]
    assert strong == [2]
    assert found.modules == found.of


def test_the_original_itself_accuses_nobody(worker, payload):
    found = weigh_suspect(worker, Evidence(payload, payload, seeds=SEEDS))
    assert all(score.spread_z < 5 for score in found.scores)
