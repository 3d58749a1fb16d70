"""A relay made of aiosmtpd, for tests that want a server the project did not write.

    aiosmtpd_relay.py CERTIFICATE KEY USER PASSWORD plain|pipelining

Says its port, then each message it accepted, one JSON object a line. STARTTLS and AUTH are required. Recipients are
judged by their local part: unknown* does not exist, full* has no room, grey* is put off once. Ends when its standard
input does.
"""

import asyncio
import base64
import json
import logging
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult


def say(**what):
    print(json.dumps(what), flush=True)


class Handler:
    def __init__(self, is_pipelining):
        self.is_pipelining = is_pipelining
        self.put_off = set()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        if self.is_pipelining:
            responses.insert(1, "250-PIPELINING")
        return responses

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("unknown"):
            return f"550 5.1.1 <{address}>: Recipient address rejected: User unknown"
        if address.startswith("full"):
            return "552 5.2.2 mailbox full"
        if address.startswith("grey") and address not in self.put_off:
            self.put_off.add(address)
            return "450 4.2.0 Recipient address rejected: Greylisted, try again in 300 seconds"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server, session, envelope):
        say(
            peer=session.peer[1],
            sender=envelope.mail_from,
            recipients=envelope.rcpt_tos,
            content=base64.b64encode(envelope.content).decode(),
        )
        return "250 2.0.0 OK"


async def main(certificate, key, user, password, kind):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def authenticate(server, session, envelope, mechanism, data):
        is_right = (data.login, data.password) == (user.encode(), password.encode())
        # Without a message of its own it gives the standard's answer, 535 5.7.8.
        return AuthResult(success=is_right, handled=False)

    handler = Handler(kind == "pipelining")
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(
            handler,
            hostname="independent.test",
            tls_context=context,
            require_starttls=True,
            authenticator=authenticate,
            auth_required=True,
        ),
        "127.0.0.1",
        0,
    )
    say(port=server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    # It warns of its own use of its own old names.
    logging.disable(logging.WARNING)
    asyncio.run(main(*sys.argv[1:]))
