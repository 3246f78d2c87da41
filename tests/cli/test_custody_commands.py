"""What people ask and order: status, ls, show, trace, log, release, reject, revoke, deliver, recipients."""

from __future__ import annotations

import json
import os
import shutil
from threading import Barrier, Thread
from typing import Any

import pytest

from daemon.cli.delivering import Wish, plan_wish
from daemon.custody.holder import open_custody
from daemon.keyring import load_operator
from registry.settings import load_paths
from tests.daemon.registry_on_disk import Registry
from tests.daemon.rig import artifact_named, enrol, sql

pytestmark = pytest.mark.xdist_group("lived")


def asked(registry: Registry, *words: object, code: int = 0) -> dict[str, Any]:
    answer = registry.run(*words, "--config", registry.settings, "--json", code=code)
    body = json.loads(answer.stdout)
    assert isinstance(body, dict)
    return body


def told(registry: Registry, *words: object, code: int = 0) -> str:
    return registry.run(*words, "--config", registry.settings, code=code).output


# --- reading


def test_status_ends_with_what_needs_a_person(lived: Registry) -> None:
    lines = told(lived, "status").splitlines()
    needs = [line for line in lines if line.startswith("!")]
    assert "held.safetensors" in needs[0]
    assert lines.index(needs[0]) > lines.index(next(line for line in lines if "recipients" in line))
    assert needs[-1] == "! the daemon is stopped: loraseal up"
    assert all("-> " in lines[lines.index(line) + 1] for line in needs if "artifact" in line)


def test_status_in_json_has_every_count(lived: Registry) -> None:
    body = asked(lived, "status")
    assert body["schema"] == "loraseal/status.v1"
    assert body["daemon"] == "stopped"
    ledger = body["ledger"]
    assert {row["state"]: row["count"] for row in ledger["artifacts"]} == {
        "held": 1, "rejected": 1, "released": 1,
    }  # fmt: skip
    assert ledger["log_size"] == ledger["checkpoint_size"]
    assert len(ledger["needs"]) == 1


def test_ls_shows_newest_first_and_filters_by_state(lived: Registry) -> None:
    assert asked(lived, "ls")["schema"] == "loraseal/ls.v1"
    assert len(asked(lived, "ls")["artifacts"]) == 3
    (held,) = asked(lived, "ls", "--state", "held")["artifacts"]
    assert held["id"] == artifact_named(lived, "held")
    assert asked(lived, "ls", "--state", "odd", code=2)["exit"] == 2


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "--limit", "-1"),
        ("ls", "--limit", "9" * 20),
        ("log", "--limit", "0"),
        ("trace", ""),
        ("show", "a\udcff"),
        ("service", "install", "--user", "a\nExecStart=/bin/sh", "--dry-run"),
        ("recipient", "add", "N\nFAKE", os.devnull, "--yes"),
    ],
)
def test_clumsy_arguments_are_usage_faults(lived: Registry, words: tuple[str, ...]) -> None:
    assert "Traceback" not in told(lived, *words, code=4 if "recipient" in words else 2)


def test_enrol_replaces_an_enrolment_file_and_nothing_else(fresh: Registry) -> None:
    file, home = fresh.home / "carol.enrol", fresh.home / "carol"
    fresh.run("enrol", "--home", home, "-o", file)
    fresh.run("enrol", "--home", home, "-o", file)
    file.write_bytes(b"precious")
    fresh.run("enrol", "--home", home, "-o", file, code=2)
    assert file.read_bytes() == b"precious"


def test_damaged_index_key_is_named(lived: Registry) -> None:
    key = lived.home / "state" / "keys" / "index.key"
    key.write_bytes(b"")
    assert "index.key" in told(lived, "ls", code=4)


def test_ls_of_a_new_registry_says_so(fresh: Registry) -> None:
    assert told(fresh, "ls").strip() == "no artifacts yet"


@pytest.mark.parametrize("how", ["prefix", "name", "sha256", "upper"])
def test_show_finds_by_prefix_name_and_hash(lived: Registry, how: str) -> None:
    good = artifact_named(lived, "good")
    ((sha256,),) = sql(
        lived, "select value from reg_hash where algorithm='sha256' and artifact_id=?", good
    )
    words = {
        "prefix": good[:10], "name": "good.safetensors", "sha256": sha256, "upper": str(sha256).upper(),
    }  # fmt: skip
    body = asked(lived, "show", words[how])
    assert body["schema"] == "loraseal/show.v1"
    assert body["artifact"]["summary"]["id"] == good


def test_show_of_nothing_exits_3(lived: Registry) -> None:
    body = asked(lived, "show", "zzzz", code=3)
    assert (body["error"], body["exit"]) == ("NotFoundError", 3)


def test_show_does_not_speak_urns_to_people(lived: Registry) -> None:
    assert "urn:" not in told(lived, "show", "good")


def test_trace_of_the_file_finds_it(lived: Registry) -> None:
    body = asked(lived, "trace", lived.watched / "good.safetensors")
    assert body["schema"] == "loraseal/trace.v1"
    (match,) = body["answer"]["matches"]
    assert match["artifact"]["id"] == artifact_named(lived, "good")


def test_trace_of_nothing_exits_3_with_what_was_compared(lived: Registry) -> None:
    body = asked(lived, "trace", "0" * 64, code=3)
    assert body["answer"]["matches"] == []
    assert "not found among 3 artifacts" in told(lived, "trace", "0" * 64, code=3)


def test_trace_of_what_was_revoked_exits_6(lived: Registry) -> None:
    told(lived, "revoke", "good", "--yes")
    assert asked(lived, "trace", lived.watched / "good.safetensors", code=6)["answer"]["matches"]


def test_log_shows_head_and_events(lived: Registry) -> None:
    body = asked(lived, "log", "--limit", "3")
    assert body["schema"] == "loraseal/log.v1"
    assert body["size"] == body["signed_size"] > 0
    assert body["checkpoint"].startswith("test.studio/log\n")
    assert len(body["events"]) == 3


# --- deciding


def test_release_of_a_held_artifact_is_signed_and_planned(lived: Registry) -> None:
    body = asked(lived, "release", "held", "--reason", "looked at it")
    assert (body["schema"], body["outcome"], body["done"]) == (
        "loraseal/decision.v1",
        "released",
        True,
    )
    assert sql(lived, "select count(*) from reg_delivery where state='planned'") == [(2,)]


def test_dry_run_of_a_release_changes_nothing(lived: Registry) -> None:
    before = sql(lived, "select count(*) from reg_statement")
    assert asked(lived, "release", "held", "--reason", "x", "--dry-run")["done"] is False
    assert sql(lived, "select count(*) from reg_statement") == before
    assert sql(
        lived, "select state from reg_artifact where id=?", artifact_named(lived, "held")
    ) == [("held",)]


@pytest.mark.parametrize("name", ["good", "bad"])
@pytest.mark.parametrize("verb", ["release", "reject"])
def test_only_what_is_held_is_for_a_person_to_decide(lived: Registry, verb: str, name: str) -> None:
    body = asked(lived, verb, artifact_named(lived, name), "--reason", "x", code=7)
    assert body["error"] == "DeniedError"


def test_reject_is_for_good(lived: Registry) -> None:
    assert asked(lived, "reject", "held", "--reason", "no")["outcome"] == "rejected"
    asked(lived, "release", artifact_named(lived, "held"), "--reason", "yes", code=7)


def test_reason_of_an_operator_is_not_in_the_database_in_the_clear(lived: Registry) -> None:
    told(lived, "release", "held", "--reason", "Mallory-said-so")
    for path in (lived.home / "state").glob("registry.sqlite*"):
        assert b"Mallory-said-so" not in path.read_bytes()


def test_release_without_the_operators_key_is_refused(lived: Registry) -> None:
    (lived.home / "state" / "keys" / "operator.pem").unlink()
    asked(lived, "release", "held", "--reason", "x", code=3)


def test_revoke_says_what_it_does_not_do_and_asks(lived: Registry) -> None:
    text = told(lived, "revoke", "good", code=2)
    assert "cannot be undone" in text
    assert "does not take back" in text
    assert sql(lived, "select count(*) from reg_revocation") == [(0,)]


def test_revoke_cancels_what_has_not_left_and_signs_a_list(lived: Registry) -> None:
    told(lived, "deliver", "good", "--to", "Bob", "--by", "folder")
    body = asked(lived, "revoke", "good", "--yes")
    assert (body["schema"], body["status_ids"]) == ("loraseal/revocation.v1", 2)
    states = {row[0] for row in sql(lived, "select state from reg_delivery")}
    assert states == {"sent", "cancelled"}
    assert (lived.home / "state" / "status-list").exists()
    assert asked(lived, "fsck")["ok"]


def test_revoke_of_one_delivery(lived: Registry) -> None:
    ((delivery,),) = sql(lived, "select id from reg_delivery")
    body = asked(lived, "revoke", str(delivery)[:10], "--delivery", "--yes")
    assert (body["delivery"], body["status_ids"]) == (delivery, 1)
    assert asked(lived, "revoke", "0000", "--delivery", "--yes", code=3)


def test_recipient_with_a_fresh_list_sees_the_revocation(lived: Registry) -> None:
    """The bundle of a delivery made later carries it; here the list itself is handed over."""
    told(lived, "revoke", "good", "--yes")
    root = asked(lived, "keys", "show")["root"]
    sealed = lived.stick / "Alice" / "good.age"
    lived.run(
        *("verify", sealed, "--bundle", sealed.with_suffix(".loraseal"), "--key", root),
        *("--home", lived.alice, "--status", lived.home / "state" / "status-list"),
        code=6,
    )


# --- delivering


def test_deliver_plans_once_and_again_only_when_told(lived: Registry) -> None:
    assert asked(lived, "deliver", "good", "--to", "Bob", "--by", "folder")["done"] is True
    assert asked(lived, "deliver", "good", "--to", "bob", "--by", "folder", code=2)["hint"]
    asked(lived, "deliver", "good", "--to", "Bob", "--by", "folder", "--again")
    assert sql(lived, "select count(*) from reg_delivery where state='planned'") == [(2,)]


def test_deliver_of_what_is_not_released_exits_7(lived: Registry) -> None:
    asked(lived, "deliver", "held", "--to", "Bob", "--by", "folder", code=7)
    asked(lived, "deliver", artifact_named(lived, "bad"), "--to", "Bob", "--by", "folder", code=7)


def test_deliver_to_nobody_or_by_nothing(lived: Registry) -> None:
    asked(lived, "deliver", "good", "--to", "Zoe", "--by", "folder", code=3)
    asked(lived, "deliver", "good", "--to", "Bob", "--by", "pigeon", code=2)


def test_recipients_are_listed_by_name(lived: Registry) -> None:
    body = asked(lived, "recipient", "list")
    assert [row["name"] for row in body["recipients"]] == ["Alice", "Bob"]
    assert "Alice" in told(lived, "recipient", "list")


def test_recipient_is_added_only_with_the_right_words(fresh: Registry) -> None:
    file = fresh.home / "carol.enrol"
    fresh.run("enrol", "--name", "Carol", "--home", fresh.home / "carol", "-o", file)
    text = told(fresh, "recipient", "add", "Carol", file, code=2)
    assert "nobody confirmed the six words" in text
    wrong = "-".join(["wrong"] * 6)
    assert asked(fresh, "recipient", "add", "Carol", file, "--words", wrong, code=5)["hint"]
    words = json.loads(
        fresh.run(
            *("enrol", "--name", "Carol", "--home", fresh.home / "carol", "-o", file, "--json")
        ).stdout
    )["words"]
    spoken = words.replace("-", "  ").upper()
    body = asked(fresh, "recipient", "add", "Carol", file, "--words", spoken)
    assert body["words"] == words


def test_same_recipient_twice_is_refused(lived: Registry) -> None:
    file = lived.home / "bob.enrol"
    asked(lived, "recipient", "add", "Bob", file, "--yes", code=2)
    asked(lived, "recipient", "add", "Robert", file, "--yes", code=2)


def test_tampered_enrolment_file_is_refused(fresh: Registry) -> None:
    enrol(fresh, "Dave")
    file = fresh.home / "dave.enrol"
    data = file.read_bytes()
    for at in range(10, len(data), 37):
        file.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        result = fresh.run(
            *("recipient", "add", "Eve", file, "--yes", "--config", fresh.settings),
            code=_refused(fresh, file),
        )
        assert result.exit_code in {2, 4, 5}
    assert [row["name"] for row in asked(fresh, "recipient", "list")["recipients"]] == [
        "Alice",
        "Dave",
    ]


def _refused(registry: Registry, file: object) -> int:
    from click.testing import CliRunner

    from daemon.cli.root import loraseal

    words = ["recipient", "add", "Eve", str(file), "--yes", "--config", str(registry.settings)]
    return CliRunner().invoke(loraseal, words).exit_code


def test_receipt_import_acknowledges_and_knows_a_repeat(lived: Registry) -> None:
    root = asked(lived, "keys", "show")["root"]
    sealed, out = lived.stick / "Alice" / "good.age", lived.home / "a.receipt"
    lived.run(
        *("receipt", "make", sealed, "--bundle", sealed.with_suffix(".loraseal"), "--key", root),
        *("--home", lived.alice, "-o", out),
    )
    (row,) = asked(lived, "receipt", "import", out)["receipts"]
    assert (row["level"], row["new"]) == ("opened", True) or row["new"] is True
    assert "known already" in told(lived, "receipt", "import", out)
    assert sql(lived, "select state from reg_delivery") == [("acknowledged",)]


def test_receipt_that_is_none_exits_12(lived: Registry) -> None:
    file = lived.home / "x.receipt"
    file.write_bytes(b"not a receipt at all, and long enough to be one sealed box ....")
    asked(lived, "receipt", "import", file, code=12)


# --- exit codes that hold for all of them


@pytest.mark.parametrize("words", [("ls",), ("show", "x"), ("trace", "x"), ("log",), ("status",)])
def test_no_ledger_exits_3_and_says_what_to_run(fresh: Registry, words: tuple[str, ...]) -> None:
    for path in (fresh.home / "state").glob("registry.sqlite*"):
        path.unlink()
    body = asked(fresh, *words, code=3)
    assert "loraseal" in body["hint"]


def test_daemon_that_runs_refuses_a_second_one_with_exit_11(fresh: Registry) -> None:
    from daemon.engine import daemon_lock

    with daemon_lock(fresh.home / "state" / "daemon.lock"):
        result = fresh.run("up", "--once", "--quiet", "--config", fresh.settings, code=11)
    assert "another daemon" in result.stderr


def test_ledger_reads_without_keys_as_sealed(lived: Registry) -> None:
    """Somebody with the database alone learns no names."""
    shutil.rmtree(lived.home / "state" / "keys")
    result = lived.run("ls", "--config", lived.settings, code=3)
    assert "good" not in result.stdout


def test_orders_given_at_once_are_two_deliveries_that_both_exist(lived: Registry) -> None:
    """The number of a repeat is taken under the write lock: else the second order is lost."""
    wish = Wish(artifact_named(lived, "good"), "Alice", "folder", again=True, unmarked=True)
    start, planned = Barrier(2), []

    def order() -> None:
        with open_custody(load_paths(lived.settings)) as custody:
            start.wait()
            new, _ = plan_wish(custody, wish, load_operator(custody.paths))
            planned.append((new.id, new.ordinal))

    threads = [Thread(target=order) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = sql(lived, "select id, ordinal from reg_delivery where ordinal > 1")
    assert sorted(planned) == sorted(rows)
    assert sorted(ordinal for _, ordinal in planned) == [2, 3]


def test_name_that_is_taken_is_refused_before_anybody_compares_words(lived: Registry) -> None:
    words = ("recipient", "add", "alice", lived.home / "alice.enrol", "--config", lived.settings)
    answer = lived.run(*words, code=2)
    assert "there is a recipient 'alice' already" in answer.stderr
    assert "six words" not in answer.stderr
