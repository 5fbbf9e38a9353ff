"""A message goes out once, or somebody is told why not: outbox, mailers and task on real parts."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import email
import mailbox
from collections.abc import AsyncIterator, Callable, Iterator
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.adapters.mail_outbox import DatabaseMailOutbox
from backend.adapters.mailer_url import make_mailer
from backend.celery_bridge import TASK_REGISTRY
from backend.db.database import Database
from backend.db.maria_database import maria
from backend.db.models import JobExecution, OutboxMessage
from backend.db.types import db_now
from backend.domain.executions import RowCounts, RunReport
from backend.domain.mail import MAX_ATTEMPTS, Accepted, MailContent, MailStatus, OutgoingMail
from backend.errors import ConfigurationError, NotFoundError, PermanentError, TransientError
from backend.ports import Mailer
from backend.services.send_mail import queue_hris_summary, send_due_messages, send_message
from backend.settings import Settings
from tests.support.hris import RecordedRun
from tests.support.servers import free_port
from tests.support.smtp import LOGIN, CollectingServer, ScriptedServer, make_certificate
from tests.support.tasks import StandInTask

SENDER, RECIPIENT = "hrsync@example.com", "operations@example.com"
SEND_EMAIL = StandInTask(
    code="send_email", name="tasks.email.send_email_task", queue="email", parameters=("message_id",)
)


@pytest.fixture
def outbox(database: Database) -> DatabaseMailOutbox:
    return DatabaseMailOutbox(database, sender=SENDER, sending_task=SEND_EMAIL)


async def enqueue(outbox: DatabaseMailOutbox, key: str = "key-1", **values: Any) -> int:
    content = {"recipient": RECIPIENT, "subject": "Subject", "text": "Text", **values}
    message_id = await outbox.enqueue(business_key=key, **content)
    assert message_id is not None
    return message_id


async def row(database: Database, message_id: int) -> OutboxMessage:
    async with database.session() as session:
        return await session.get_one(OutboxMessage, message_id)


async def send(outbox: DatabaseMailOutbox, url: str, message_id: int, **options: Any) -> RunReport:
    run = options.pop("run", None) or RecordedRun()
    return await send_message(run, message_id, outbox=outbox, mailer=make_mailer(url, SENDER), **options)


async def send_due(outbox: DatabaseMailOutbox, url: str, limit: int = 100) -> RunReport:
    return await send_due_messages(RecordedRun(), outbox=outbox, mailer=make_mailer(url, SENDER), limit=limit)


# --- the contract of mailers ----------------------------------------------------------------------------------------


class Inbox:
    """A mailer, and what has arrived by it."""

    def __init__(self, mailer: Mailer, read: Callable[[], list[bytes]]) -> None:
        self.mailer = mailer
        self._read = read

    def messages(self) -> list[EmailMessage]:
        return [email.message_from_bytes(raw, policy=policy.default) for raw in self._read()]


@pytest.fixture(params=["maildir", "smtp"])
def inbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Inbox]:
    if request.param == "maildir":
        folder = tmp_path / "deeper" / "mail"
        yield Inbox(
            make_mailer(f"maildir:///{folder}", SENDER),
            lambda: [message.as_bytes() for message in mailbox.Maildir(folder)],
        )
        return
    with CollectingServer() as server:
        yield Inbox(make_mailer(f"smtp://127.0.0.1:{server.port}", SENDER), lambda: server.messages)


def outgoing(number: int = 1, recipient: str = RECIPIENT, text: str = "Text 李\n.\n..x\n") -> OutgoingMail:
    return OutgoingMail(
        id=number,
        recipient=recipient,
        content=MailContent(subject="Größe", text=text, html="<p>x</p>"),
        message_id=f"<{number}@example.com>",
        created_at=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
        attempts=1,
    )


async def test_a_mailer_delivers_what_it_is_given(inbox: Inbox) -> None:
    """Headers and both parts arrive as they were, lines of dots too."""
    async with inbox.mailer as mailer:
        assert await mailer.prepare(outgoing()) is None
        assert await mailer.deliver(outgoing()) == Accepted()
    (message,) = inbox.messages()
    assert (message["To"], message["Subject"], message["Message-ID"]) == (RECIPIENT, "Größe", "<1@example.com>")
    text = message.get_body(("plain",))
    assert text is not None
    assert text.get_content().splitlines() == ["Text 李", ".", "..x"]


async def test_a_mailer_delivers_one_after_the_other(inbox: Inbox) -> None:
    """Several messages go out in one block, and a later block works again."""
    for numbers in ((1, 2, 3), (4,)):
        async with inbox.mailer as mailer:
            for number in numbers:
                assert await mailer.prepare(outgoing(number)) is None
                assert await mailer.deliver(outgoing(number)) == Accepted()
    assert sorted(str(message["Message-ID"]) for message in inbox.messages()) == [
        f"<{number}@example.com>" for number in (1, 2, 3, 4)
    ]


async def test_a_mailer_takes_any_address(inbox: Inbox) -> None:
    """An address with letters beyond ASCII is used as it is."""
    async with inbox.mailer as mailer:
        assert await mailer.prepare(outgoing(recipient="jürgen@example.com")) is None
        assert await mailer.deliver(outgoing(recipient="jürgen@example.com")) == Accepted()
    (message,) = inbox.messages()
    assert "jürgen@example.com" in message.as_bytes().decode()


async def test_a_mailer_that_is_left_unprepared_sends_nothing(inbox: Inbox) -> None:
    """Preparing alone delivers nothing."""
    async with inbox.mailer as mailer:
        await mailer.prepare(outgoing())
    assert inbox.messages() == []


# --- the outbox -----------------------------------------------------------------------------------------------------


async def test_a_message_comes_with_its_execution(outbox: DatabaseMailOutbox, database: Database) -> None:
    """A message and the pending execution that sends it appear together."""
    message_id = await enqueue(outbox, correlation_id="01920000-0000-7000-8000-00000000000a")
    message = await row(database, message_id)
    async with database.session() as session:
        execution = (await session.scalars(select(JobExecution))).one()
    assert (execution.id, execution.status, execution.params) == (
        message.execution_id,
        "pending",
        {"message_id": message_id},
    )
    assert (execution.task_code, execution.queue, execution.triggered_by, execution.correlation_id) == (
        *("send_email", "email", "workflow"),
        "01920000-0000-7000-8000-00000000000a",
    )
    assert (message.status, message.attempts) == (MailStatus.PENDING, 0)
    assert message.message_id.endswith("@example.com>")


async def test_a_business_key_is_taken_once(outbox: DatabaseMailOutbox, database: Database) -> None:
    """A second message with the same key is not taken, also when both come at once, and gets no execution."""
    ids = await asyncio.gather(
        *(outbox.enqueue(business_key="same", recipient=RECIPIENT, subject="s", text="t") for _ in range(5))
    )
    assert len([message_id for message_id in ids if message_id is not None]) == 1
    async with database.session() as session:
        assert len((await session.scalars(select(JobExecution.id))).all()) == 1


async def test_a_wrong_recipient_is_refused_at_once(outbox: DatabaseMailOutbox, database: Database) -> None:
    """What is no address never gets into the outbox."""
    with pytest.raises(ConfigurationError, match="mail address"):
        await enqueue(outbox, recipient="a@example.com\nBcc: b@example.com")
    async with database.session() as session:
        assert (await session.scalars(select(OutboxMessage.id))).all() == []


async def test_one_of_many_claims_a_message(outbox: DatabaseMailOutbox) -> None:
    """However many runs want a message at once, one gets it."""
    message_id = await enqueue(outbox)
    by_id = await asyncio.gather(*(outbox.claim(f"run-{number}", message_id) for number in range(8)))
    assert len([mail for mail in by_id if mail]) == 1


async def test_due_messages_are_shared_out(outbox: DatabaseMailOutbox) -> None:
    """Runs that take what is due get different messages, and all of them."""
    expected = {await enqueue(outbox, f"key-{number}") for number in range(6)}
    claimed = await asyncio.gather(*(outbox.claim(f"run-{number}") for number in range(8)))
    assert sorted(mail.id for mail in claimed if mail) == sorted(expected)


async def test_a_lost_claim_writes_nothing(outbox: DatabaseMailOutbox, database: Database) -> None:
    """Who has lost the claim cannot change the message any more."""
    message_id = await enqueue(outbox)
    await outbox.claim("run-1/1", message_id)
    assert await outbox.give_up_claims("run-1/2", execution_id="run-1", older_than_seconds=900) == [message_id]
    await outbox.mark_sent(message_id, "run-1/1")
    await outbox.release(message_id, "run-1/1", delay_seconds=0, error="x")
    assert (await row(database, message_id)).status == MailStatus.UNCERTAIN


# --- sending --------------------------------------------------------------------------------------------------------


async def test_a_message_is_sent_once(outbox: DatabaseMailOutbox, database: Database) -> None:
    """A message goes out, and a second run for it only says so."""
    message_id = await enqueue(outbox, html="<p>Text</p>")
    with CollectingServer() as server:
        url = f"smtp://127.0.0.1:{server.port}"
        report = await send(outbox, url, message_id)
        again = await send(outbox, url, message_id)
        due = await send_due(outbox, url)
    assert (report.summary, again.summary, due.summary) == (
        "Messages: 1 sent.",
        f"Message {message_id} had been sent already.",
        "No message was due.",
    )
    assert server.envelopes == [(SENDER, [RECIPIENT])]
    message = await row(database, message_id)
    assert (message.status, message.attempts, message.error) == (MailStatus.SENT, 1, None)
    assert message.sent_at is not None


@pytest.mark.parametrize(
    "answers", [{"MAIL": "451 later"}, {"RCPT": "450 greylisted"}, {"DATA": "451 later"}, {"END": "452 full"}]
)
async def test_4xx_is_tried_again(outbox: DatabaseMailOutbox, database: Database, answers: dict[str, str]) -> None:
    """An answer for now leaves the message pending for later, and the run asks to be tried again."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(**answers) as server:
        with pytest.raises(TransientError, match="45"):
            await send(outbox, server.url, message_id)
        message = await row(database, message_id)
        assert (message.status, message.attempts) == (MailStatus.PENDING, 1)
        assert message.next_attempt_at > message.created_at + dt.timedelta(seconds=50)
        assert (await send_due(outbox, server.url)).summary == "No message was due."
    async with ScriptedServer() as server:
        # Its own execution does not wait for the sweep's time.
        assert (await send(outbox, server.url, message_id)).details == {"sent": 1}


@pytest.mark.parametrize("answers", [{"MAIL": "550 no"}, {"RCPT": "550 5.1.1 no such user"}, {"END": "554 spam"}])
async def test_5xx_is_final(outbox: DatabaseMailOutbox, database: Database, answers: dict[str, str]) -> None:
    """An answer for ever fails the message and the run, and nothing sends it again by itself."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(**answers) as server:
        with pytest.raises(PermanentError, match="55"):
            await send(outbox, server.url, message_id)
        with pytest.raises(PermanentError, match="is failed"):
            await send(outbox, server.url, message_id)
        assert (await send_due(outbox, server.url)).summary == "No message was due."
    message = await row(database, message_id)
    assert message.status == MailStatus.FAILED
    assert message.error is not None
    assert message.error.startswith("55")


async def test_a_broken_handover_is_uncertain(outbox: DatabaseMailOutbox, database: Database) -> None:
    """When the connection breaks before the answer, the message is uncertain and is not sent again by itself."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(END="drop") as server:
        with pytest.raises(PermanentError, match="may have arrived or not"):
            await send(outbox, server.url, message_id)
        assert (await row(database, message_id)).status == MailStatus.UNCERTAIN
        with pytest.raises(PermanentError, match="is uncertain"):
            await send(outbox, server.url, message_id)
        assert (await send_due(outbox, server.url)).summary == "No message was due."
        assert len(server.messages) == 1


async def test_a_person_may_send_it_again(outbox: DatabaseMailOutbox, database: Database) -> None:
    """With `resend` an uncertain message goes out again, under the same Message-ID; a sent one does not."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(END=["drop", "250 taken"]) as server:
        with pytest.raises(PermanentError):
            await send(outbox, server.url, message_id)
        await send(outbox, server.url, message_id, resend=True)
        await send(outbox, server.url, message_id, resend=True)
    first, second = (email.message_from_bytes(raw) for raw in server.messages)
    assert first["Message-ID"] == second["Message-ID"] == (await row(database, message_id)).message_id


@pytest.mark.parametrize("answers", [{"MAIL": "drop"}, {"RCPT": "drop"}, {"EHLO": "drop"}])
async def test_a_break_before_the_handover_costs_nothing(
    outbox: DatabaseMailOutbox, database: Database, answers: dict[str, str]
) -> None:
    """A connection that breaks before the message leaves it pending, with no attempt counted."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(**answers) as server:
        with pytest.raises(TransientError, match="SMTP_URL"):
            await send(outbox, server.url, message_id)
    message = await row(database, message_id)
    assert (message.status, message.attempts) == (MailStatus.PENDING, 0)


async def test_a_server_that_is_away_costs_nothing(outbox: DatabaseMailOutbox, database: Database) -> None:
    """Without a server the messages stay pending and the run asks to be tried again."""
    message_id = await enqueue(outbox)
    with pytest.raises(TransientError, match="cannot be reached"):
        await send_due(outbox, f"smtp://127.0.0.1:{free_port()}")
    message = await row(database, message_id)
    assert (message.status, message.attempts) == (MailStatus.PENDING, 0)


async def test_a_busy_server_is_transient(outbox: DatabaseMailOutbox) -> None:
    """A greeting with 421 is no reason to give the message up."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(EHLO="421 too busy", HELO="421 too busy") as server:
        with pytest.raises(TransientError):
            await send(outbox, server.url, message_id)


async def test_a_connection_that_was_closed_is_made_again(outbox: DatabaseMailOutbox) -> None:
    """A server that closes after each message gets a new connection for the next."""
    for number in range(3):
        await enqueue(outbox, f"key-{number}")
    async with ScriptedServer(MAIL=["250 ok", "drop", "250 ok", "421 enough", "250 ok"]) as server:
        report = await send_due(outbox, server.url)
    assert report.details == {"sent": 2, "deferred": 1}
    assert len(server.messages) == 2


async def test_one_refused_recipient_does_not_stop_the_others(outbox: DatabaseMailOutbox) -> None:
    """The messages after a refused one go out over the same connection."""
    for number in range(3):
        await enqueue(outbox, f"key-{number}")
    async with ScriptedServer(RCPT=["250 ok", "550 no", "250 ok"]) as server:
        report = await send_due(outbox, server.url)
        assert server.connections == 1
    assert report.summary == "Messages: 2 sent, 1 failed."
    assert report.counts == RowCounts(read=3, updated=2, rejected=1)


async def test_no_more_than_the_limit_go_out(outbox: DatabaseMailOutbox) -> None:
    """A run sends as many as it may; the rest waits for the next."""
    for number in range(3):
        await enqueue(outbox, f"key-{number}")
    async with ScriptedServer() as server:
        assert (await send_due(outbox, server.url, limit=2)).details == {"sent": 2}
        assert (await send_due(outbox, server.url, limit=2)).details == {"sent": 1}


async def test_the_last_attempt_gives_up(outbox: DatabaseMailOutbox, database: Database) -> None:
    """A message that was put off often enough has failed."""
    message_id = await enqueue(outbox)
    async with database.session() as session:
        await session.execute(update(OutboxMessage).values(attempts=MAX_ATTEMPTS - 1))
    async with ScriptedServer(RCPT="450 never") as server:
        with pytest.raises(PermanentError, match=f"in {MAX_ATTEMPTS} attempts"):
            await send(outbox, server.url, message_id)
    assert (await row(database, message_id)).status == MailStatus.FAILED


# --- interrupted runs -----------------------------------------------------------------------------------------------


async def cancel_when(task: asyncio.Task[Any], ready: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await ready.wait()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    ("verb", "status", "attempts"), [("RCPT", MailStatus.PENDING, 0), ("END", MailStatus.UNCERTAIN, 1)]
)
async def test_a_stopped_run_says_what_it_knows(
    outbox: DatabaseMailOutbox, database: Database, verb: str, status: MailStatus, attempts: int
) -> None:
    """A run that is stopped before the handover leaves the message pending; one that is stopped in it, uncertain."""
    message_id = await enqueue(outbox)
    async with ScriptedServer(**{verb: "stall"}) as server:
        await cancel_when(asyncio.create_task(send(outbox, server.url, message_id)), server.stalled)
    message = await row(database, message_id)
    assert (message.status, message.attempts) == (status, attempts)


async def test_the_claim_of_a_killed_attempt_is_uncertain(outbox: DatabaseMailOutbox, database: Database) -> None:
    """The next attempt of a killed run does not send what the killed one had claimed."""
    message_id = await enqueue(outbox)
    second = RecordedRun()
    second.attempt = 2
    await outbox.claim(f"{second.execution_id}/1", message_id)
    async with ScriptedServer() as server:
        with pytest.raises(PermanentError, match="is uncertain"):
            await send(outbox, server.url, message_id, run=second)
        assert server.messages == []
    assert (await row(database, message_id)).error == "its worker was lost while it was being sent"


async def test_an_old_claim_is_uncertain_and_a_young_one_is_left(
    outbox: DatabaseMailOutbox, database: Database
) -> None:
    """Any run settles claims that nobody can hold any more, and leaves those of others alone."""
    old, young = await enqueue(outbox, "old"), await enqueue(outbox, "young")
    await outbox.claim("lost/1", old)
    await outbox.claim("other/1", young)
    async with database.session() as session:
        await session.execute(update(OutboxMessage).where(OutboxMessage.id == old).values(claimed_at=db_now(-3600)))
    async with ScriptedServer() as server:
        assert (await send_due(outbox, server.url)).details == {"uncertain": 1}
        with pytest.raises(TransientError, match="being sent by another run"):
            await send(outbox, server.url, young)
    assert [(await row(database, number)).status for number in (old, young)] == ["uncertain", "claimed"]


async def test_an_unknown_message_is_not_found(outbox: DatabaseMailOutbox) -> None:
    """A message that is not there is named."""
    with pytest.raises(NotFoundError, match="no message 4711"):
        await send(outbox, "maildir:///mail", 4711)


# --- TLS and login --------------------------------------------------------------------------------------------------


async def test_tls_and_login(outbox: DatabaseMailOutbox, database: Database, tmp_path: Path) -> None:
    """With STARTTLS and the right login the message goes out; what is wrong is said without the password."""
    message_id = await enqueue(outbox)
    with CollectingServer(make_certificate(tmp_path)) as server:
        place = f"127.0.0.1:{server.port}?starttls=1"
        with pytest.raises(ConfigurationError, match="TLS failed"):
            await send(outbox, f"smtp://{LOGIN}@{place}", message_id)
        with pytest.raises(ConfigurationError, match="Check the user and the password") as error:
            await send(outbox, f"smtp://hrsync:geheim@{place}&verify=0", message_id)
        assert "geheim" not in str(error.value)
        message = await row(database, message_id)
        assert (message.status, message.attempts) == (MailStatus.PENDING, 0)
        await send(outbox, f"smtp://{LOGIN}@{place}&verify=0", message_id)
        assert len(server.messages) == 1


async def test_required_tls_is_required(outbox: DatabaseMailOutbox) -> None:
    """A server without STARTTLS gets no message when it is required."""
    message_id = await enqueue(outbox)
    async with ScriptedServer() as server:
        with pytest.raises(ConfigurationError, match="STARTTLS"):
            await send(outbox, f"{server.url}?starttls=1", message_id)
        assert "MAIL" not in server.commands


# --- the task and the summary ---------------------------------------------------------------------------------------


@pytest.fixture
async def task_database(
    database: Database, settings_env: Callable[..., Settings], tmp_path: Path
) -> AsyncIterator[Database]:
    """The database of the tasks; mail goes into the maildir `mail` of the working directory."""
    settings_env(maria_url=database.url.render_as_string(hide_password=False), smtp_url="maildir:///mail")
    yield database
    await maria().dispose()


async def test_the_summary_of_a_run_is_mailed_once(task_database: Database) -> None:
    """Each recipient gets one summary of an execution, by the task, into the maildir of the embedded default."""
    task = TASK_REGISTRY["send_email"]
    outbox = DatabaseMailOutbox(task_database, sender=SENDER, sending_task=task)
    report = RunReport(counts=RowCounts(read=3, inserted=1), summary="Read 3 employees: 1 inserted.")
    queued = [
        await queue_hris_summary(
            outbox,
            report,
            execution_id="01920000-0000-7000-8000-00000000000a",
            finished_at=dt.datetime(2026, 11, 21, tzinfo=dt.UTC),
            recipients=["a@example.com", "b@example.com", "a@example.com"],
        )
        for _ in range(2)
    ]
    assert queued == [2, 0]
    async with task_database.session() as session:
        params = (await session.scalars(select(JobExecution.params).order_by(JobExecution.id))).all()
    for given in params:
        await task.body(RecordedRun(), **task.validate_params(given))
    subjects = {(message["To"], message["Subject"]) for message in mailbox.Maildir("mail")}
    assert subjects == {(name, "HRIS replication: 1 new") for name in ("a@example.com", "b@example.com")}
    assert (await task.body(RecordedRun())).summary == "No message was due."


async def test_no_address_is_logged(outbox: DatabaseMailOutbox, database: Database) -> None:
    """Log lines, reports and errors name messages by their number, also where the server repeats the address."""
    message_id = await enqueue(outbox)
    run = RecordedRun()
    async with ScriptedServer(RCPT=f"550 <{RECIPIENT}>: no such user") as server:
        with pytest.raises(PermanentError) as error:
            await send(outbox, server.url, message_id, run=run)
    told = f"{error.value} {run.log.lines} {run.progresses} {(await row(database, message_id)).error}"
    assert RECIPIENT not in told
    assert "no such user" in told
