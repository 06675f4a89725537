"""An SMTP server on loopback that writes down what it accepts: smtp_sink.py PORT LOG SLOW DELAY [CERTIFICATE KEY].

A line for each message, on disk before the client hears of it: key, Message-ID, recipient, unsubscribe header, subject, slow or not. One message in SLOW takes
DELAY seconds, one in 40 is put off with 451 (before it is accepted), and addresses that start with "gone" do not exist. With a certificate
nothing goes without STARTTLS."""
import asyncio
import email
import email.policy
import os
import random
import ssl
import sys
import threading

from aiosmtpd.controller import Controller

port, path, slow, delay = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
tls = None
if len(sys.argv) > 5:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[5], sys.argv[6])
log = open(path, "a", buffering=1)


class Sink:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("gone"):
            return "550 5.1.1 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        if slow and random.randrange(40) == 0:
            return "451 4.3.0 try again later"
        wait = slow and random.randrange(slow) == 0
        log.write("\t".join(str(message[name] or "") for name in
                            ("X-Lifecycle-Key", "Message-ID", "To", "List-Unsubscribe", "Subject")).replace("\n", " ") + ("\tslow\n" if wait else "\tquick\n"))
        log.flush()
        os.fsync(log.fileno())
        if wait:
            await asyncio.sleep(delay)
        return "250 2.0.0 OK taken"


controller = Controller(Sink(), hostname="127.0.0.1", port=port, tls_context=tls, require_starttls=tls is not None)
controller.start()
print("ready", flush=True)
threading.Event().wait()
