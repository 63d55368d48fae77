"""Requests to addresses that clients name: recordings to fetch, webhooks to call.

Such an address must not lead into the network that the server stands in. So a name is resolved
once, every address that it has is checked, and the connection goes to the checked one: whatever
the name means a moment later makes no difference. Redirects are not followed here, and proxies of
the environment not used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

import httpx

from core.config import Settings
from core.errors import InvalidInput, Unreachable
from core.logger import logged_operation

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# NAT64 (RFC 6052): the last 32 bits are an IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# All that is given out of IPv6 (IANA). Of what lies outside, Python calls some global that stands
# for something near: site-local addresses, IPv4 ones in old disguises, local translation.
_GIVEN_OUT = ipaddress.IPv6Network("2000::/3")
_LAST_PORT = 65535
_CONNECT_SECONDS = 10.0
_RESOLVE_SECONDS = 10.0
_RESOLVERS = 16


class OutgoingClient:
    """Sends requests to public addresses, and to those networks that an operator allows."""

    def __init__(self, settings: Settings) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in settings.allowed_networks]
        # Threads of their own: a name server that never answers must not hold up other work.
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    async def check(self, url: str) -> None:
        """Refuse an address that requests would not be sent to.

        Raises:
            InvalidInput: It is no address of http or https (code `url_invalid`), or leads to a
                private network (code `url_not_allowed`).
            Unreachable: Its name has no address now (retryable).
        """
        await self._resolve(_parse(url))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        read_seconds: float = 30.0,
    ) -> AsyncIterator[httpx.Response]:
        """Send a request; its answer's body is read by the caller, as it likes.

        The whole may take longer than `read_seconds`, as long as something comes now and then. And
        a server may compress its answer although it is asked not to: `aiter_raw` gives what comes.

        Args:
            method: Of HTTP.
            url: Whereto; http or https.
            headers: To be sent.
            content: Body to be sent.
            read_seconds: How long the other side may be silent.

        Raises:
            InvalidInput: As `check`.
            Unreachable: No connection, or it broke: also while the body is read (retryable).
        """
        target = _parse(url)
        timeout = httpx.Timeout(read_seconds, connect=_CONNECT_SECONDS)
        address = await self._resolve(target)
        try:
            async with (
                httpx.AsyncClient(timeout=timeout, trust_env=False, verify=self._tls) as client,
                client.stream(
                    method,
                    target.copy_with(host=str(address)),
                    headers={
                        "Accept-Encoding": "identity",
                        **(headers or {}),
                        "Host": target.netloc.decode(),
                    },
                    content=content,
                    # Certificates are checked against the name.
                    extensions={"sni_hostname": _name(target)},
                ) as response,
            ):
                yield response
        except httpx.HTTPError as error:
            raise Unreachable(
                f"The server at {target.host} cannot be reached ({type(error).__name__})."
            ) from error

    async def _resolve(self, url: httpx.URL) -> Address:
        port = url.port or (443 if url.scheme == "https" else 80)
        with logged_operation("resolve address", translate=_no_such_host, quiet=True):
            async with asyncio.timeout(_RESOLVE_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(
                    self._resolvers, _look_up, _name(url), port
                )
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        # All of them: a name with a public and a private address is up to something.
        if not addresses or not all(self._may_reach(address) for address in addresses):
            raise InvalidInput(
                f"The address leads to {url.host}, which is not on the public internet. Name "
                "another, or have the operator add its network to ALLOWED_NETWORKS.",
                code="url_not_allowed",
            )
        return addresses[0]

    def _may_reach(self, address: Address) -> bool:
        embedded = _embedded(address)
        if any(embedded in network for network in self._allowed):
            return True
        if isinstance(embedded, ipaddress.IPv6Address) and embedded not in _GIVEN_OUT:
            return False
        return embedded.is_global and not embedded.is_multicast

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        # Once: reading the public authorities' certificates takes tens of milliseconds. An
        # operator names those of a private network in SSL_CERT_FILE.
        return httpx.create_ssl_context()


def _parse(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise _not_an_address() from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise _not_an_address()
    if parsed.port is not None and not 0 < parsed.port <= _LAST_PORT:
        raise _not_an_address()
    return parsed


def _name(url: httpx.URL) -> str:
    """Return the host as name servers and certificates know it: in ASCII."""
    return url.raw_host.decode("ascii")


def _look_up(name: str, port: int) -> list[Any]:
    return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)


def _not_an_address() -> InvalidInput:
    return InvalidInput(
        "This is not a web address. It has to begin with https:// or http://.", code="url_invalid"
    )


def _no_such_host(error: Exception) -> Unreachable | None:
    if isinstance(error, OSError | UnicodeError):
        return Unreachable("The name in the address cannot be resolved.")
    return None


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one stands for, or the address itself."""
    if not isinstance(address, ipaddress.IPv6Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
