"""What a receiver is sent, and what its answers lead to."""

import asyncio
import json
import ssl
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from standardwebhooks import Webhook, WebhookVerificationError

from sutazai import clock, ids
from sutazai.callbacks.model import DELAYS, Delivery, DeliveryStatus
from sutazai.database import Connection
from sutazai.engine import store
from sutazai.tasks.model import TaskEnded, TaskStatus
from tests.features.callbacks.conftest import Rigged
from tests.features.callbacks.receiver import (
    Received,
    Receiver,
    flood,
    hang,
    nonsense,
    receiving,
    status,
)
from tests.features.callbacks.rig import Rig, add_user

LATER = (3_600 * clock.SECOND,) * 9


def verified(received: Received, secret: str) -> Any:
    """What it says, if the signature is good."""
    return Webhook(secret).verify(received.body, received.headers)


def errors_of(delivery: Delivery) -> list[str | None]:
    return [attempt.error for attempt in delivery.attempts]


async def test_a_completed_task_is_told_as_the_specification_does_and_signed(
    rig: Rig, receiver: Receiver
) -> None:
    secret = await rig.rotate()
    before = clock.now()
    delivery = await rig.over(await rig.end(receiver.url("/hook?of=mine#part")))
    [told] = receiver.received
    assert told.target == "/hook?of=mine"
    assert told.headers["content-type"] == "application/json"
    assert told.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert told.headers["webhook-id"] == delivery.delivery_id
    assert verified(told, secret) == {
        "task_id": delivery.task_id,
        "status": "completed",
        "result": {"answer": 42},
    }
    assert delivery.status is DeliveryStatus.DELIVERED
    [attempt] = delivery.attempts
    assert (attempt.status_code, attempt.error) == (204, None)
    assert before <= attempt.started_at <= clock.now()
    assert (delivery.ended_at or 0) >= attempt.started_at + attempt.duration


async def test_failed_and_cancelled_tasks_are_told_too(rig: Rig, receiver: Receiver) -> None:
    secret = await rig.rotate()
    failed = await rig.over(await rig.fail("It cannot be done."))
    cancelled = await rig.over(await rig.end(status=TaskStatus.CANCELLED, result=None))
    assert [verified(told, secret) for told in receiver.received] == [
        {
            "task_id": failed.task_id,
            "status": "failed",
            "result": None,
            "error": {"code": "INTERNAL_ERROR", "message": "It cannot be done."},
        },
        {"task_id": cancelled.task_id, "status": "cancelled", "result": None},
    ]


@pytest.mark.parametrize("size", [19_000, 19_999, 20_000, 300_000])
async def test_a_message_stays_under_20_kb_and_says_where_a_larger_result_is(
    rig: Rig, receiver: Receiver, size: int
) -> None:
    result = json.dumps("ü" * (size // 2 - 1), ensure_ascii=False)
    delivery = await rig.over(await rig.end(result=result))
    [told] = receiver.received
    assert len(told.body) < 20_000
    shown = json.loads(told.body)
    if size < 19_500:
        assert shown["result"] == json.loads(result)
    else:
        assert shown["result"] is None
        assert shown["result_url"] == f"/api/v1/tasks/{delivery.task_id}/result"


async def test_an_endless_error_message_is_cut(rig: Rig, receiver: Receiver) -> None:
    await rig.over(await rig.fail("ü" * 1_000_000))
    assert len(receiver.received[0].body) < 20_000


async def test_a_task_without_a_url_is_told_to_nobody(rig: Rig) -> None:
    with pytest.raises(IndexError):
        await rig.end(callback_url=None)
    assert not await rig.deliveries()


async def test_what_failed_is_sent_again_under_the_same_id_with_a_signature_of_its_own(
    rig: Rig, receiver: Receiver
) -> None:
    secret = await rig.rotate()
    receiver.replies = [status(500), nonsense, status(404, body=b"x" * 100)]
    delivery = await rig.over(await rig.end())
    assert delivery.status is DeliveryStatus.DELIVERED
    assert [attempt.status_code for attempt in delivery.attempts] == [500, None, 404, 204]
    assert errors_of(delivery) == [
        "The receiver answered 500.",
        "The receiver closed the connection, or did not answer in HTTP.",
        "The receiver answered 404.",
        None,
    ]
    assert {told.headers["webhook-id"] for told in receiver.received} == {delivery.delivery_id}
    assert len({told.body for told in receiver.received}) == 1
    for told in receiver.received:
        assert verified(told, secret)
        forged = told._replace(body=told.body + b" ")
        with pytest.raises(WebhookVerificationError):
            verified(forged, secret)


async def test_when_the_schedule_is_used_up_the_delivery_has_failed(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.replies = [status(503)] * 20
    delivery = await rig.over(await rig.end())
    assert delivery.status is DeliveryStatus.FAILED
    assert len(delivery.attempts) == len(receiver.received) == len(DELAYS) + 1 == 10


def wait_of(delivery: Delivery) -> float:
    """Seconds between an attempt's end and the next one."""
    last = delivery.attempts[-1]
    assert delivery.next_attempt_at is not None
    return (delivery.next_attempt_at - last.started_at - last.duration) / clock.SECOND


@pytest.mark.parametrize("code", [429, 502, 503, 504])
async def test_retry_after_puts_the_next_attempt_off_within_bounds(
    rig: Rig, receiver: Receiver, code: int
) -> None:
    tomorrow = format_datetime(datetime.now(UTC) + timedelta(hours=3), usegmt=True)
    wanted = {
        "7200": (7_100, 7_300),
        tomorrow: (10_700, 10_900),
        "999999999": (86_300, 86_500),
    }
    for value, (least, most) in wanted.items():
        receiver.replies = [status(code, f"Retry-After: {value}")]
        delivery = await rig.after(await rig.end(), attempts=1)
        assert delivery.status is DeliveryStatus.PENDING
        assert least < wait_of(delivery) < most
    endless = f"Fri, {'9' * 20} Dec 2020 00:00:00 GMT"
    for value in ("0", "-5", "soon", "1e9", "Tue, 99 Foo 2026 99:99:99 GMT", endless, "\xff"):
        receiver.replies = [status(code, f"Retry-After: {value}")]
        delivery = await rig.over(await rig.end())
        assert delivery.status is DeliveryStatus.DELIVERED, value


async def test_the_schedule_is_that_of_standard_webhooks_with_jitter(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged(delays=LATER)
    receiver.replies = [status(500)] * 8
    deliveries = [await rig.after(await rig.end(), attempts=1) for _ in range(8)]
    waits = {wait_of(delivery) for delivery in deliveries}
    assert len(waits) == 8
    assert all(3_200 < wait < 4_000 for wait in waits)
    assert [delay // clock.SECOND for delay in DELAYS] == [
        5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
    ]  # fmt: skip


async def test_redirects_are_not_followed(rig: Rig, receiver: Receiver) -> None:
    async with receiving() as inner:
        receiver.replies = [
            status(code, f"Location: {inner.url('/admin')}") for code in (301, 302, 303, 307, 308)
        ]
        delivery = await rig.over(await rig.end())
        assert [attempt.status_code for attempt in delivery.attempts] == [
            301, 302, 303, 307, 308, 204,
        ]  # fmt: skip
        assert "redirects are not followed" in str(delivery.attempts[0].error)
        assert not inner.received


async def test_410_ends_it_and_everything_else_to_this_url_of_this_user(
    rig: Rig, receiver: Receiver
) -> None:
    await rig.database.run(lambda connection: add_user(connection, "user-2"))
    receiver.replies = [status(410)]
    gone = await rig.over(await rig.end())
    assert gone.status is DeliveryStatus.FAILED
    assert [attempt.status_code for attempt in gone.attempts] == [410]
    later = await rig.over(await rig.end())
    assert later.status is DeliveryStatus.FAILED
    assert "410 Gone" in str(errors_of(later)[0])
    assert len(receiver.received) == 1
    assert (await rig.over(await rig.end(receiver.url("/other")))).attempts[0].status_code == 204
    assert (await rig.over(await rig.end(submitted_by="user-2"))).attempts[0].status_code == 204
    await rig.replay(later.delivery_id)
    assert (await rig.over(later.delivery_id)).status is DeliveryStatus.DELIVERED
    assert (await rig.over(await rig.end())).status is DeliveryStatus.DELIVERED


async def test_a_receiver_that_hangs_is_left_after_a_while(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged(seconds=0.5)
    receiver.replies = [hang]
    delivery = await rig.over(await rig.end())
    *late, last = errors_of(delivery)  # on a busy machine, more than one
    assert (set(late), last) == ({"No answer came within 0.5 s."}, None)


async def test_receivers_that_hang_hold_up_no_other(rigged: Rigged, receiver: Receiver) -> None:
    rig = await rigged()
    rig.names.addresses = {f"{name}.test": [["127.0.0.1"]] for name in ("hangs", "works")}
    receiver.replies = [hang] * 4
    held_up = [await rig.end(receiver.url(host="hangs.test")) for _ in range(100)]
    await receiver.until_received(4)
    delivery = await rig.over(await rig.end(receiver.url(host="works.test")))
    assert delivery.status is DeliveryStatus.DELIVERED
    assert len(receiver.received) == 5
    receiver.hang_up()
    for one in held_up:
        assert (await rig.over(one)).status is DeliveryStatus.DELIVERED
    # Who waited for a place used up no attempt.
    assert len(receiver.received) == 4 + 1 + 100


async def test_of_an_answer_without_an_end_only_the_beginning_is_read(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.replies = [flood]
    delivery = await rig.over(await rig.end())
    assert [attempt.status_code for attempt in delivery.attempts] == [200]


async def test_a_name_that_turns_inwards_between_submission_and_call_is_not_called(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged(allow=())
    rig.names.addresses["turns.test"] = [["93.184.215.14"], ["127.0.0.1"]]
    url = receiver.url(host="turns.test")
    await rig.guard.check(url)
    delivery = await rig.over(await rig.end(url))
    assert delivery.status is DeliveryStatus.FAILED
    assert "not, or not only, on the public internet" in str(errors_of(delivery)[0])
    assert "127.0.0.1" not in str(delivery.attempts)
    assert rig.names.asked == ["turns.test"] * 2
    assert not receiver.received


async def test_the_address_that_was_checked_is_the_one_that_is_called(
    rig: Rig, receiver: Receiver
) -> None:
    # A second look-up would find an address where nobody may be called.
    rig.names.addresses["once.test"] = [["127.0.0.1"], ["10.0.0.1"]]
    delivery = await rig.over(await rig.end(receiver.url(host="once.test")))
    assert delivery.status is DeliveryStatus.DELIVERED
    assert rig.names.asked == ["once.test"]
    assert receiver.received[0].headers["host"] == f"once.test:{receiver.port}"


async def test_proxies_of_the_environment_are_not_asked(
    rig: Rig, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        await rig.over(await rig.end())
        assert len(receiver.received) == 1
        assert not proxy.received


async def test_names_and_ports_where_nobody_is_are_tried_again(
    rig: Rig, receiver: Receiver
) -> None:
    async with receiving() as gone:
        closed = gone.url()
    unknown = await rig.after(await rig.end("http://nowhere.test:8080/"), attempts=2)
    assert errors_of(unknown)[0] == "The receiver's name could not be resolved."
    refused = await rig.after(await rig.end(closed), attempts=2)
    assert errors_of(refused)[0] == "The receiver refused the connection."


def certificate_for(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a server shows that calls itself so, and what trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(path)
    return theirs, ssl.create_default_context(cadata=path.read_text().partition("-----BEGIN P")[0])


async def test_a_certificate_is_checked_against_the_urls_name(
    rigged: Rigged, tmp_path: Path
) -> None:
    theirs, trusting = certificate_for("secure.test", tmp_path)
    rig = await rigged(trusted=trusting)
    rig.names.addresses = {f"{name}.test": [["127.0.0.1"]] for name in ("secure", "other")}
    async with receiving(theirs) as receiver:
        good, bad = (
            receiver.url(host=f"{name}.test").replace("http:", "https:")
            for name in ("secure", "other")
        )
        assert (await rig.over(await rig.end(good))).status is DeliveryStatus.DELIVERED
        delivery = await rig.after(await rig.end(bad), attempts=1)
        assert "certificate is not valid" in str(errors_of(delivery)[0])
        assert len(receiver.received) == 1


async def test_a_certificate_that_nobody_vouches_for_is_refused(rig: Rig, tmp_path: Path) -> None:
    theirs, _ = certificate_for("secure.test", tmp_path)
    rig.names.addresses["secure.test"] = [["127.0.0.1"]]
    async with receiving(theirs) as receiver:
        url = receiver.url(host="secure.test").replace("http:", "https:")
        delivery = await rig.after(await rig.end(url), attempts=1)
        assert "certificate is not valid" in str(errors_of(delivery)[0])
        assert not receiver.received


# --- secrets


async def test_for_a_day_after_a_rotation_both_secrets_sign(rig: Rig, receiver: Receiver) -> None:
    old, new = await rig.rotate(), await rig.rotate()
    await rig.over(await rig.end())
    [told] = receiver.received
    assert len(told.headers["webhook-signature"].split(" ")) == 2
    assert verified(told, old) == verified(told, new)


async def test_after_that_day_only_the_new_one_signs(rig: Rig, receiver: Receiver) -> None:
    old = await rig.rotate()
    long_ago = clock.now() - 25 * 3600 * clock.SECOND
    made = await rig.database.run(
        lambda connection: rig.secrets.rotate(connection, "user-1", now=long_ago)
    )
    await rig.over(await rig.end())
    assert verified(receiver.received[0], made.secret)
    with pytest.raises(WebhookVerificationError):
        verified(receiver.received[0], old)


async def test_secrets_are_sealed_in_the_database(rig: Rig) -> None:
    secret = await rig.rotate()
    rows = await rig.database.read(
        lambda c: c.exec_driver_sql("SELECT * FROM callback_secrets").all()
    )
    assert secret.removeprefix("whsec_") not in repr(rows)


async def test_first_secrets_asked_for_at_once_are_all_good(rig: Rig, receiver: Receiver) -> None:
    made = await asyncio.gather(rig.rotate(), rig.rotate())
    await rig.over(await rig.end())
    for secret in made:
        assert verified(receiver.received[0], secret)


async def test_before_anybody_asked_for_a_secret_messages_are_signed_all_the_same(
    rig: Rig, receiver: Receiver
) -> None:
    await rig.over(await rig.end())
    assert receiver.received[0].headers["webhook-signature"].startswith("v1,")
    assert abs(int(receiver.received[0].headers["webhook-timestamp"]) - time.time()) < 60


async def test_what_cannot_be_signed_is_not_sent_until_there_is_a_new_secret(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged()
    foreign = Rig(rig.database, rig._stack, receiver, secret=b"another secret of the server, yes")
    await foreign.rotate()
    delivery_id = await rig.end()
    delivery = await rig.after(delivery_id, attempts=1)
    assert "POST /callbacks/secret" in str(errors_of(delivery)[0])
    assert not receiver.received
    await rig.over(delivery_id)
    secret = await rig.rotate()
    await rig.replay(delivery_id)
    await rig.over(delivery_id)
    assert verified(receiver.received[0], secret)


# --- the log


async def test_of_a_user_who_is_gone_nothing_is_sent(rig: Rig, receiver: Receiver) -> None:
    delivery = await rig.over(await rig.end(submitted_by="nobody"))
    assert delivery.status is DeliveryStatus.FAILED
    assert "no longer there" in str(errors_of(delivery)[0])
    assert not receiver.received


async def test_a_replay_is_the_same_message_with_all_attempts_anew(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.replies = [status(500)] * 10
    failed = await rig.over(await rig.end())
    assert failed.status is DeliveryStatus.FAILED
    again = await rig.replay(failed.delivery_id)
    assert again.status is DeliveryStatus.PENDING
    receiver.replies = [status(500)] * 9
    delivered = await rig.over(failed.delivery_id)
    assert delivered.status is DeliveryStatus.DELIVERED
    assert len(delivered.attempts) == 20
    assert delivered.attempts[:10] == failed.attempts
    assert len({told.body for told in receiver.received}) == 1
    assert len({told.headers["webhook-id"] for told in receiver.received}) == 1


async def test_only_what_has_ended_long_ago_is_forgotten(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged(delays=LATER, keep=0)
    receiver.replies = [status(204), status(500)]
    ended = await rig.over(await rig.end())
    pending = await rig.after(await rig.end(), attempts=1)
    while await rig.database.run(rig.callbacks.purge):
        pass
    assert [one.delivery_id for one in await rig.deliveries()] == [pending.delivery_id]
    attempts = await rig.database.read(
        lambda c: c.exec_driver_sql("SELECT delivery_id FROM callback_attempts").scalars().all()
    )
    assert ended.delivery_id not in attempts


# --- durability


async def test_an_end_that_is_undone_is_told_to_nobody(rig: Rig) -> None:
    ended = TaskEnded(ids.new_uuid(), "ping", TaskStatus.CANCELLED, "user-1", rig.receiver.url())

    def undone(connection: Connection) -> None:
        rig.callbacks.on_task_ended(connection, [ended])
        raise RuntimeError("undone")

    with pytest.raises(RuntimeError, match="undone"):
        await rig.database.run(undone)
    assert not await rig.deliveries()


async def test_an_attempt_whose_worker_went_away_is_made_again_and_logged(
    rigged: Rigged, receiver: Receiver
) -> None:
    rig = await rigged()
    receiver.replies = [hang]
    delivery_id = await rig.end()
    await receiver.until_received(1)
    await rig.database.run(store.void_leases)
    delivery = await rig.over(delivery_id)
    assert delivery.status is DeliveryStatus.DELIVERED
    assert "Unknown whether it arrived" in str(errors_of(delivery)[0])
    assert [attempt.status_code for attempt in delivery.attempts] == [None, 204]


async def test_a_worker_that_stops_gives_what_it_was_sending_back(
    rig: Rig, receiver: Receiver
) -> None:
    receiver.replies = [hang]
    delivery_id = await rig.end()
    await receiver.until_received(1)
    await rig.workers[0].stop(drain_seconds=0)
    assert (await rig.delivery(delivery_id)).attempts == ()
    await rig.start()
    delivery = await rig.over(delivery_id)
    assert [attempt.status_code for attempt in delivery.attempts] == [204]
