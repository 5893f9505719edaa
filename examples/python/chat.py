#!/usr/bin/env python3
"""A complete small client of Trialogue, made from proto/trialogue/v1/chat.proto and docs/api.md alone.

  python3 -m venv .venv && .venv/bin/pip install -r examples/python/requirements.txt
  export TRIALOGUE_PASSWORD='correct horse battery'
  .venv/bin/python examples/python/chat.py register alice
  .venv/bin/python examples/python/chat.py send alice bob < lines
  .venv/bin/python examples/python/chat.py listen bob

A line of standard input is a message. Each is kept in a file with its request id before it is first sent, and struck out once
it was answered: whatever dies, this program or a replica, the next `send` goes on, and nothing is lost or comes twice.
"""

import argparse
import fcntl
import getpass
import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "proto"))
chat, chat_grpc = grpc.protos_and_services("trialogue/v1/chat.proto")

# gRPC's own default is to wait a second after the first failed connection, and two minutes in the end.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 200),
]
HEARTBEAT_WITHIN = 0.3
CALL_WITHIN = 5.0
ASK_AROUND_EVERY = 0.02
GIVE_UP_AFTER = 60.0
# Tells nothing of what became of a call: it is repeated, with the same request id, at the primary.
UNKNOWN_FATE = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}


class Refused(Exception):
    """The service has answered that it will not do it."""

    def __init__(self, reason, message):
        super().__init__(message)
        self.reason = reason


class NobodyServes(Exception):
    """No replica has served for as long as this program is willing to wait."""


def told(error):
    """The reason of an error, if the service has given one, and after how many seconds the call may be repeated."""
    reason, retry_after = None, 0.1
    status = rpc_status.from_call(error) if hasattr(error, "trailing_metadata") else None
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == "trialogue":
            reason = info.reason
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    return reason, retry_after


class Service:
    """The replicas, of which one serves."""

    def __init__(self, addresses):
        self.addresses = list(addresses)
        self.stubs = {}
        self.primary = None
        # How far the service's clock is ahead of this machine's, in milliseconds.
        self.ahead = 0

    def stub(self, address):
        if address not in self.stubs:
            self.stubs[address] = chat_grpc.ChatStub(grpc.insecure_channel(address, CHANNEL))
        return self.stubs[address]

    def ask_around(self):
        """Asks all replicas at once which of them serves, so that one that hangs delays no answer."""
        answers = queue.Queue()
        asked = [
            self.stub(address).Heartbeat.future(chat.HeartbeatRequest(), timeout=HEARTBEAT_WITHIN)
            for address in self.addresses
        ]
        for address, call in zip(list(self.addresses), asked):
            call.add_done_callback(lambda call, address=address: answers.put((address, call)))
        for _ in asked:
            address, call = answers.get()
            if call.exception() is None and call.result().serving:
                said = call.result()
                self.addresses = list(said.addresses)
                self.ahead = said.wall_clock - int(time.time() * 1000)
                return address
        return None

    def find(self, give_up_at):
        while self.primary is None:
            self.primary = self.ask_around()
            if self.primary is None:
                if time.monotonic() >= give_up_at:
                    raise NobodyServes("nobody serves; the operator sees why with: trialogue status")
                time.sleep(ASK_AROUND_EVERY)
        return self.stub(self.primary)

    def call(self, method, request, token=None):
        """Makes a call until it is answered, wherever the primary is by then."""
        metadata = [("authorization", f"Bearer {token}")] if token else []
        give_up_at = time.monotonic() + GIVE_UP_AFTER
        while True:
            stub = self.find(give_up_at)
            try:
                return getattr(stub, method)(request, metadata=metadata, timeout=CALL_WITHIN)
            except grpc.RpcError as error:
                self.look_past(error)
                if time.monotonic() >= give_up_at:
                    raise NobodyServes(f"no answer for too long: {error.details()}") from error

    def look_past(self, error):
        """Waits, or forgets the primary, where the call may be repeated; raises the refusal where it may not."""
        reason, retry_after = told(error)
        if reason in ("NOT_PRIMARY", "FAULT") or (reason is None and error.code() in UNKNOWN_FATE):
            self.primary = None
        elif reason in ("BUSY", "KEPT_ON_FEWER"):
            time.sleep(retry_after)
        else:
            raise Refused(reason or error.code().name, error.details())

    def request_id(self):
        """A UUIDv7 (RFC 9562, section 5.7), dated by the service's clock."""
        if self.primary is None:
            self.find(time.monotonic() + GIVE_UP_AFTER)
        date = int(time.time() * 1000) + self.ahead
        drawn = bytearray(date.to_bytes(6, "big") + os.urandom(10))
        drawn[6] = 0x70 | drawn[6] & 0x0F
        drawn[8] = 0x80 | drawn[8] & 0x3F
        return bytes(drawn)


class Kept:
    """A file of JSON that is always whole: it is written beside its place, synced, and put there."""

    def __init__(self, path, empty):
        self.path = Path(path)
        self.value = empty
        self.read()

    def read(self):
        if self.path.exists():
            self.value = json.loads(self.path.read_text())

    def write(self):
        beside = self.path.with_name(self.path.name + ".new")
        with open(os.open(beside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self.value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.path)


class Person:
    """An account, as this machine knows it."""

    def __init__(self, service, name, folder):
        self.service = service
        self.name = name
        folder = Path(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.session = Kept(folder / f"{name}.session", {})
        self.outbox = Kept(folder / f"{name}.outbox", [])
        self.cursor = Kept(folder / f"{name}.cursor", {})

    def register(self, password):
        service = self.service
        request = chat.CreateAccountRequest(request_id=service.request_id(), name=self.name, password=password)
        service.call("CreateAccount", request)
        self.log_in(password)

    def log_in(self, password):
        service = self.service
        request = chat.LoginRequest(request_id=service.request_id(), name=self.name, password=password)
        self.session.value = {"token": service.call("Login", request).token}
        self.session.write()

    def token(self):
        if "token" not in self.session.value:
            self.log_in(password_of(self.name))
        return self.session.value["token"]

    def take_outbox(self):
        """Two programs with one outbox would both send, and each write over the other's file."""
        self.lock = open(os.open(self.outbox.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600), "w")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("IN_USE", f"another program sends for {self.name} just now") from None
        self.outbox.read()

    def decide(self, again):
        """What was refused, or waited for too long, is sent once more as a new message, or dropped: its owner says."""
        self.take_outbox()
        if not self.outbox.value:
            raise Refused("EMPTY", "nothing waits")
        letter = self.outbox.value.pop(0)
        if again:
            self.outbox.value.append({**letter, "id": self.service.request_id().hex()})
        self.outbox.write()

    def send(self, to, lines):
        """Sends what was left over, then each line; returns how many were refused."""
        self.take_outbox()
        refused = self.deliver()
        for line in lines:
            letter = {"id": self.service.request_id().hex(), "to": to, "text": line.rstrip("\r\n")}
            # Before it is handed to any socket: from now on it has this id, and no other.
            self.outbox.value.append(letter)
            self.outbox.write()
            refused += self.deliver()
        return refused

    def deliver(self):
        refused = 0
        while self.outbox.value:
            letter = self.outbox.value[0]
            request = chat.SendMessageRequest(
                request_id=bytes.fromhex(letter["id"]), to=letter["to"], text=letter["text"]
            )
            try:
                sent = self.service.call("SendMessage", request, self.token())
                print(json.dumps({"id": sent.id, "copies": sent.copies, "text": letter["text"]}), flush=True)
            except Refused as refusal:
                if refusal.reason in ("SESSION_INVALID", "NOT_SIGNED_IN"):
                    self.session.value = {}
                    self.token()
                    continue
                if refusal.reason in ("TOO_FEW_IN_SYNC", "DISK_FULL", "REQUEST_ID_OUT_OF_DATE"):
                    # It may be done later, or was long ago: it stays until its owner decides.
                    raise
                print(f"refused: {letter['text'][:40]!r}: {refusal}", file=sys.stderr)
                refused += 1
            self.outbox.value.pop(0)
            self.outbox.write()
        return refused

    def listen(self, count):
        """Prints messages as they come, for ever or `count` of them; where it ended, the next `listen` goes on."""
        heard = 0
        while count is None or heard < count:
            for message in self.stream():
                # `from` is a word of Python, so its field is reached by name.
                sender = getattr(message, "from")
                print(json.dumps({"id": message.id, "from": sender, "text": message.text}), flush=True)
                self.cursor.value["after"] = message.id
                self.cursor.write()
                heard += 1
                if heard == count:
                    break

    def stream(self):
        """The messages of one stream, until it ends or falls silent."""
        request = chat.ListenMessagesRequest()
        if "history" in self.cursor.value:
            request.cursor.history = bytes.fromhex(self.cursor.value["history"])
            request.cursor.after = self.cursor.value["after"]
        stub = self.service.find(time.monotonic() + GIVE_UP_AFTER)
        events = stub.ListenMessages(request, metadata=[("authorization", f"Bearer {self.token()}")])
        watch = Watch(events)
        try:
            for event in events:
                watch.sign_of_life(event)
                kind = event.WhichOneof("event")
                if kind == "listening":
                    self.cursor.value = {
                        "history": event.listening.cursor.history.hex(),
                        "after": event.listening.cursor.after,
                    }
                    self.cursor.write()
                elif kind == "message":
                    yield event.message
        except grpc.RpcError as error:
            try:
                self.service.look_past(error)
            except Refused as refusal:
                if refusal.reason == "HISTORY_REPLACED":
                    print("chat.py: the history was replaced: some messages may be missing", file=sys.stderr)
                    self.cursor.value = {}
                elif refusal.reason in ("SESSION_INVALID", "NOT_SIGNED_IN"):
                    self.session.value = {}
                else:
                    raise
        finally:
            watch.end()
            events.cancel()


class Watch:
    """Ends a stream that has been silent for three beats: TCP may take minutes to find out."""

    def __init__(self, stream):
        self.stream = stream
        self.silence = CALL_WITHIN
        self.timer = None
        self.restart()

    def sign_of_life(self, event):
        if event.WhichOneof("event") == "listening":
            self.silence = 3 * event.listening.beat_every / 1000
        self.restart()

    def restart(self):
        self.end()
        self.timer = threading.Timer(self.silence, self.stream.cancel)
        self.timer.daemon = True
        self.timer.start()

    def end(self):
        if self.timer:
            self.timer.cancel()


def password_of(name):
    """From the environment, or asked for: never an argument, which every user of the machine can read."""
    return os.environ.get("TRIALOGUE_PASSWORD") or getpass.getpass(f"password of {name}: ")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--servers", default="127.0.0.1:5100,127.0.0.1:5101,127.0.0.1:5102")
    arguments.add_argument("--state", default=str(Path.home() / ".trialogue-python"), help="where this program keeps its files")
    commands = arguments.add_subparsers(dest="command", required=True)
    commands.add_parser("register", help="make an account and log in").add_argument("name")
    send = commands.add_parser("send", help="send each line of standard input")
    send.add_argument("name")
    send.add_argument("to")
    listen = commands.add_parser("listen", help="print messages as they come")
    listen.add_argument("name")
    listen.add_argument("--count", type=int, help="end after this many messages")
    for name, what in (("again", "send the first message that waits as a new one"), ("drop", "let go of it")):
        commands.add_parser(name, help=what).add_argument("name")
    given = arguments.parse_args()
    person = Person(Service(given.servers.split(",")), given.name, given.state)
    try:
        if given.command == "register":
            person.register(password_of(given.name))
        elif given.command == "send":
            sys.stdin.reconfigure(encoding="utf-8", errors="strict")
            return 1 if person.send(given.to, sys.stdin) else 0
        elif given.command == "listen":
            person.listen(given.count)
        else:
            person.decide(again=given.command == "again")
    except (Refused, NobodyServes) as problem:
        print(f"chat.py: {problem}", file=sys.stderr)
        return 3 if isinstance(problem, NobodyServes) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
