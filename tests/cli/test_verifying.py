"""`loraseal verify`, `open`, `receipt make` and `enrol`, as a recipient types them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from registry.cli.enrolling import enrol_command
from registry.cli.verifying import open_command, receipt_command, verify_command
from registry.formats.canonical import dump_canonical
from registry.formats.delivery_receipt import ReceiptLevel
from registry.formats.moments import to_text
from registry.formats.status_list import StatusEntry, StatusState
from registry.sealing.identities import X25519Identity, parse_identity_file
from registry.sealing.seal import seal, seal_bytes
from registry.sealing.signing import SigningKey
from registry.verify.enrolments import read_enrolment
from registry.verify.receipts import check_receipt, facts_of, open_receipt
from registry.verify.steps import verify_bundle
from tests.verify.world import RAW_FILES, TAR_FILES, Delivered, Recipient, Script, World


class Kit:
    """A recipient's home, made by `enrol`, and a delivery to it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        self.folder = folder
        self.home = folder / "state" / "loraseal" / "recipient"
        self.world = replace(World.make(), now=datetime.now(UTC))
        assert run(enrol_command, "--name", "Li W.").exit_code == 0
        (identity,) = parse_identity_file((self.home / "identity.txt").read_bytes())
        assert isinstance(identity, X25519Identity)
        signing = SigningKey.load(self.home / "signing-key.pem")
        self.recipient = Recipient(identity, signing)
        self.key = folder / "root.txt"
        self.key.write_text(self.world.root.public_raw.hex() + "\n")

    def deliver(
        self, files: dict[str, bytes] = RAW_FILES, script: Script | None = None
    ) -> Delivered:
        made = self.world.deliver(files, self.recipient, script)
        self.sealed, self.bundle = made.write(self.folder)
        return made

    def judged(self, *more: object) -> tuple[str, ...]:
        return ("--bundle", str(self.bundle), "--key", str(self.key), *map(str, more))


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(item) for item in arguments])  # type: ignore[arg-type]


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kit:
    return Kit(tmp_path, monkeypatch)


def test_key_is_never_taken_on_first_use(kit: Kit) -> None:
    kit.deliver()
    for command in (verify_command, open_command):
        extra = ("-o", kit.folder / "out") if command is open_command else ()
        result = run(command, kit.sealed, "--bundle", kit.bundle, *extra)
        assert result.exit_code == 2
        assert "--key is missing" in result.stderr


def test_verify_without_a_bundle_is_a_usage_error(kit: Kit) -> None:
    (kit.folder / "lonely.age").write_bytes(b"x")
    result = run(verify_command, kit.folder / "lonely.age", "--key", kit.key)
    assert result.exit_code == 2
    assert "--bundle is missing" in result.stderr


def test_tampered_parts_have_their_exit_codes(kit: Kit) -> None:
    made = kit.deliver()
    good = kit.bundle.read_bytes()
    kit.bundle.write_bytes(good[:-1])
    assert run(verify_command, kit.sealed, *kit.judged()).exit_code == 4
    body = json.loads(good)
    body["release"]["salt"] = body["delivery"]["salt"]
    kit.bundle.write_bytes(dump_canonical(body))
    result = run(verify_command, kit.sealed, *kit.judged())
    assert result.exit_code == 5
    assert "NOT PROVEN GENUINE: do not use it" in result.stdout
    kit.bundle.write_bytes(good)
    kit.sealed.write_bytes(made.sealed[:-1])
    result = run(open_command, kit.sealed, *kit.judged(), "-o", kit.folder / "out")
    assert result.exit_code == 4
    assert "what to do" in result.stdout
    assert not (kit.folder / "out").exists()


def test_someone_elses_delivery_is_exit_12(kit: Kit) -> None:
    made = kit.world.deliver()
    sealed, bundle = made.write(kit.folder)
    for judged in ((), ("--bundle", bundle, "--key", kit.key)):
        result = run(open_command, sealed, *judged, "-o", kit.folder / "out")
        assert result.exit_code == 12
    assert not (kit.folder / "out").exists()


def test_revoked_is_6_and_stale_is_13(kit: Kit) -> None:
    def revoked(delivery: str, _release: str) -> tuple[StatusEntry, ...]:
        return (StatusEntry(delivery, StatusState.REVOKED, to_text(kit.world.now)),)

    kit.deliver(script=Script(entries=revoked))
    result = run(verify_command, kit.sealed, *kit.judged())
    assert result.exit_code == 6
    assert "WITHDRAWN: please delete it" in result.stdout
    kit.deliver(script=Script(valid_for=timedelta(seconds=1)))
    kit.world.now -= timedelta(days=2)
    kit.deliver(script=Script(valid_for=timedelta(days=1)))
    result = run(verify_command, kit.sealed, *kit.judged("--no-memory"))
    assert result.exit_code == 13
    assert "status unknown since" in result.stdout


def test_open_without_identity_says_what_to_do(kit: Kit) -> None:
    kit.deliver()
    (kit.home / "identity.txt").unlink()
    result = run(open_command, kit.sealed, "-o", kit.folder / "out")
    assert result.exit_code == 2
    assert "loraseal enrol" in result.stderr


def test_open_verifies_and_says_that_privacy_was_not_audited(kit: Kit) -> None:
    kit.deliver()
    out = kit.folder / "out.safetensors"
    result = run(open_command, kit.sealed, *kit.judged(), "-o", out)
    assert result.exit_code == 0, result.output
    assert "released; privacy not audited" in result.stdout
    assert out.read_bytes() == RAW_FILES["kiki_v3.safetensors"]
    again = run(verify_command, out, *kit.judged(), "--json")
    body = json.loads(again.stdout)
    assert (again.exit_code, body["schema"], body["verified"]) == (0, "loraseal/verify.v1", True)
    assert body["delivery"]["log"]["continues_stored"] is True


def test_open_into_a_folder_replaces_nothing_there(kit: Kit) -> None:
    kit.deliver()
    into = kit.folder / "into"
    into.mkdir()
    for name, arguments in (("kiki_v3.safetensors", kit.judged()), ("kiki", ())):
        precious = into / name
        precious.write_bytes(b"precious")
        result = run(open_command, kit.sealed, *arguments, "-o", into)
        assert result.exit_code == 2, result.output
        assert "exists already" in result.output
        assert precious.read_bytes() == b"precious"


def test_open_of_several_files_makes_a_folder_that_verifies(kit: Kit) -> None:
    kit.deliver(TAR_FILES)
    out = kit.folder / "adapter"
    body = json.loads(run(open_command, kit.sealed, *kit.judged(), "-o", out, "--json").stdout)
    assert (body["schema"], body["verified"], body["out"]) == ("loraseal/open.v1", True, str(out))
    assert run(verify_command, out, *kit.judged()).exit_code == 0
    (out / "adapter_config.json").write_text("{}")
    result = run(verify_command, out, *kit.judged())
    assert result.exit_code == 4
    assert "changed 'adapter_config.json'" in result.stdout


def test_open_without_a_bundle_is_not_verified_and_exit_0(kit: Kit) -> None:
    kit.deliver()
    out = kit.folder / "out"
    result = run(open_command, kit.sealed, "-i", kit.home / "identity.txt", "-o", out)
    assert result.exit_code == 0
    assert result.stdout.startswith("NOT VERIFIED")
    assert "kiki.loraseal" in result.stderr
    again = run(open_command, kit.sealed, "-o", out)
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    other = kit.folder / "other"
    body = json.loads(run(open_command, kit.sealed, "-o", other, "--json").stdout)
    assert (body["verified"], body["archive"]) == (None, False)
    kit.deliver(TAR_FILES)
    (kit.folder / "into").mkdir()
    result = run(open_command, kit.sealed, "-o", kit.folder / "into")
    assert "tar" in result.stdout
    assert (kit.folder / "into" / "kiki").exists()


def test_open_without_a_bundle_keeps_nothing_of_a_damaged_file(kit: Kit) -> None:
    made = kit.deliver()
    kit.sealed.write_bytes(made.sealed[:-20])
    before = sorted(kit.folder.iterdir())
    result = run(open_command, kit.sealed, "-o", kit.folder / "out")
    assert result.exit_code == 4
    assert sorted(kit.folder.iterdir()) == before


def test_passphrase_opens(kit: Kit) -> None:
    from registry.sealing.identities import ScryptRecipient

    (kit.folder / "pass").write_text("correct horse battery\n")
    sealed = seal_bytes(b"content", [ScryptRecipient(b"correct horse battery", 10)])
    (kit.folder / "p.age").write_bytes(sealed)
    out = kit.folder / "out"
    result = run(
        open_command, kit.folder / "p.age", "--passphrase-file", kit.folder / "pass", "-o", out
    )
    assert result.exit_code == 0
    assert out.read_bytes() == b"content"


def test_receipt_proves_arrival_to_custody(kit: Kit) -> None:
    made = kit.deliver()
    receipt = kit.folder / "kiki.receipt"
    result = run(receipt_command, "make", kit.sealed, *kit.judged(), "-o", receipt)
    assert result.exit_code == 0, result.output
    opened = open_receipt(receipt.read_bytes(), kit.world.receipt.private_bytes_raw())
    verified = verify_bundle(kit.world.given(made))
    facts = facts_of(verified, ReceiptLevel.VERIFIED, kit.world.now, None)
    said = check_receipt(opened, facts, kit.recipient.signing.public_raw, made.file_key)
    assert said.level is ReceiptLevel.VERIFIED
    assert said.last_checkpoint == verified.position.note


def test_no_receipt_for_what_does_not_verify(kit: Kit) -> None:
    made = kit.deliver()
    kit.sealed.write_bytes(made.sealed[:-1])
    receipt = kit.folder / "kiki.receipt"
    assert run(receipt_command, "make", kit.sealed, *kit.judged(), "-o", receipt).exit_code == 4
    assert not receipt.exists()
    missing = run(receipt_command, "make", kit.sealed, "--key", kit.key, "-o", receipt)
    assert missing.exit_code == 2
    gone = run(receipt_command, "make", *kit.judged(), "-o", receipt)
    assert gone.exit_code == 2
    assert "needed to prove" in gone.stderr


def test_receipt_by_another_signing_key_is_refused(kit: Kit) -> None:
    kit.deliver()
    SigningKey.generate().save(kit.folder / "other.pem")
    result = run(
        receipt_command,
        "make",
        kit.sealed,
        *kit.judged("--signing-key", kit.folder / "other.pem", "-o", kit.folder / "r"),
    )
    assert result.exit_code == 5
    assert "enrolled" in result.stderr


def test_deletion_is_acknowledged_after_the_file_is_gone(kit: Kit) -> None:
    kit.deliver()
    kit.sealed.unlink()
    receipt = kit.folder / "r"
    result = run(receipt_command, "make", *kit.judged("--level", "deleted", "-o", receipt))
    assert result.exit_code == 0, result.output
    kit.bundle.write_bytes(b"x")
    result = run(receipt_command, "make", *kit.judged("--level", "deleted", "-o", receipt))
    assert result.exit_code == 4


def test_deletion_of_a_withdrawn_delivery_is_acknowledged(kit: Kit) -> None:
    def revoked(delivery: str, _release: str) -> tuple[StatusEntry, ...]:
        return (StatusEntry(delivery, StatusState.REVOKED, to_text(kit.world.now)),)

    kit.deliver(script=Script(entries=revoked))
    for level, code in (("verified", 6), ("deleted", 0)):
        arguments = kit.judged("--level", level, "-o", kit.folder / level)
        assert run(receipt_command, "make", kit.sealed, *arguments).exit_code == code


def test_enrol_makes_keys_once_and_shows_the_words(kit: Kit) -> None:
    result = run(enrol_command, "--name", "Li W.", "-o", kit.folder / "li.json", "--json")
    body = json.loads(result.stdout)
    assert (body["made"], body["schema"]) == (False, "loraseal/enrol.v1")
    read = read_enrolment((kit.folder / "li.json").read_bytes())
    assert read.words == body["words"]
    assert (
        read.request.age_recipient == body["recipient"] == str(kit.recipient.identity.recipient())
    )
    secret = kit.recipient.identity.to_text()
    assert secret not in result.output
    assert secret.encode() not in (kit.folder / "li.json").read_bytes()
    bad = run(enrol_command, "--name", "a\nb")
    assert bad.exit_code == 4


def test_sealed_with_any_tool_opens(kit: Kit) -> None:
    sink = io.BytesIO()
    seal([b"anything"], sink, [kit.recipient.identity.recipient()])
    (kit.folder / "x.age").write_bytes(sink.getvalue())
    result = run(open_command, kit.folder / "x.age", "-o", kit.folder / "x")
    assert result.exit_code == 0


def test_faults_of_sealed_files_and_identities_name_the_file(kit: Kit) -> None:
    """Of several files at hand a person must know which one to ask for again."""
    kit.deliver()
    identity, out = kit.home / "identity.txt", kit.folder / "out"
    whole = kit.sealed.read_bytes()
    kit.sealed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    result = run(open_command, kit.sealed, "-i", identity, "-o", out, "--no-memory", *kit.judged())
    assert result.exit_code == 4
    assert kit.sealed.name in result.output
    kit.bundle.rename(kit.folder / "bundle")
    result = run(open_command, kit.sealed, "-i", identity, "-o", out)
    assert result.exit_code == 4
    assert f"{str(kit.sealed)!r}: payload chunk 2 is not authentic" in result.stderr
    assert "what to do" in result.stderr
    binary = kit.folder / "my-keys"
    binary.write_bytes(b"\xff\xfe key")
    result = run(open_command, kit.sealed, "-i", binary, "-o", out)
    assert result.exit_code == 4
    assert f"{str(binary)!r}: identity file is not text: byte 0 is not UTF-8" in result.stderr
    assert "what to do: give the text file" in result.stderr
