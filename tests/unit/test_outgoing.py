"""Requests to addresses that clients name: which are made, whereto, and which are not."""

from __future__ import annotations

import datetime
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from core.config import Settings
from core.errors import InvalidInput, Unreachable
from core.outgoing import OutgoingClient
from tests.conftest import free_port
from tests.receiver import Receiver, receiver

PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.1", "017700000001",
    "127.255.255.254", "0", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "198.18.0.1", "169.254.169.254", "2852039166", "0xa9fea9fe", "025177524776", "192.0.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "localhost", "LOCALHOST",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[fe80::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:169.254.169.254]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001::7f00:1]", "[2001:db8::1]", "[4000::1]",
    # What stands before the @ is no host, whatever it looks like.
    "public.example@127.0.0.1", "93.184.216.34@169.254.169.254", "93.184.216.34\\@127.0.0.1",
    "93.184.216.34:80@127.0.0.1",
]  # fmt: skip
PUBLIC = ["93.184.216.34", "127.0.0.1@93.184.216.34", "[2606:4700::1111]", "[::ffff:8.8.8.8]",
          "[64:ff9b::8.8.8.8]", "[2002:808:808::1]"]  # fmt: skip
NO_ADDRESSES = [
    "", "x", "example.org", "//example.org/", "ftp://example.org/", "file:///etc/passwd",
    "gopher://example.org/", "http://", "http:///x", "https://:443/", "http://example.org:0/",
    "http://example.org:99999/", "http://example.org:x/", "http://[::1", "http://[x]/",
    "http://a\r\nHost: b/", "http://example.org/\x00", "http://0177.0.0.1/", "http://127.0.0.08/",
    "http://ⓛocalhost/", "http://\uff11\uff12\uff17.0.0.1/",
]  # fmt: skip


def a_client(*allowed: str) -> OutgoingClient:
    return OutgoingClient(Settings(_env_file=None, allowed_networks=list(allowed)))


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as running:
        yield running


@pytest.fixture
def names(monkeypatch) -> dict[str, list[list[str]]]:
    """What names mean: at each look-up the next list of addresses, and the last one again."""
    answers: dict[str, list[list[str]]] = {}
    real = socket.getaddrinfo

    def look_up(host, port, *args, **kwargs):
        name = host.decode() if isinstance(host, bytes) else host
        if name not in answers:
            return real(host, port, *args, **kwargs)
        meant = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return [entry for address in meant for entry in real(address, port, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


async def status_of(client: OutgoingClient, url: str) -> int:
    async with client.stream("POST", url, content=b"x") as response:
        return response.status_code


@pytest.mark.parametrize("host", PRIVATE)
async def test_private_addresses_are_refused_in_every_disguise(host):
    client = a_client()
    for url in (f"http://{host}/latest/meta-data/", f"https://{host}:8443/"):
        with pytest.raises(InvalidInput) as refused:
            await client.check(url)
        assert refused.value.error_code == "url_not_allowed"
        with pytest.raises(InvalidInput):
            await status_of(client, url)


@pytest.mark.parametrize("host", PUBLIC)
async def test_public_addresses_are_not(host):
    await a_client().check(f"https://{host}/")


@pytest.mark.parametrize("url", NO_ADDRESSES)
async def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(InvalidInput) as refused:
        await a_client().check(url)
    assert refused.value.error_code == "url_invalid"


async def test_a_name_without_an_address_cannot_be_reached():
    for name in ("name.invalid", "a..b", "a" * 70 + ".example"):
        with pytest.raises(Unreachable):
            await a_client().check(f"http://{name}/")


async def test_a_name_with_one_private_address_is_refused(names):
    names["two.example"] = [["93.184.216.34", "10.0.0.1"]]
    with pytest.raises(InvalidInput):
        await a_client().check("http://two.example/")


async def test_only_the_networks_that_are_allowed_are(server):
    assert await status_of(a_client("127.0.0.1/32"), server.url) == 200
    for allowed in ("127.0.0.2/32", "10.0.0.0/8", "::1/128"):
        with pytest.raises(InvalidInput):
            await status_of(a_client(allowed), server.url)
    assert len(server.received) == 1
    await a_client("fd00::/8").check("http://[fd00::1]/")


async def test_a_name_that_changes_its_answer_after_the_check_is_refused(names, server):
    names["rebind.example"] = [["93.184.216.34"], ["127.0.0.1"]]
    client = a_client()
    url = server.url.replace("127.0.0.1", "rebind.example")
    await client.check(url)
    with pytest.raises(InvalidInput):
        await status_of(client, url)
    assert server.received == []


async def test_the_connection_goes_to_the_address_that_was_checked(names, server):
    """Asked a second time, the name means another, which is not allowed."""
    with receiver("127.0.0.2") as allowed:
        names["rebind.example"] = [["127.0.0.2"], ["127.0.0.1"]]
        assert (
            await status_of(a_client("127.0.0.2/32"), f"http://rebind.example:{allowed.port}/x")
            == 200
        )
        (got,) = allowed.received
        assert names["rebind.example"] == [["127.0.0.1"]]
    assert (got.path, got.headers["host"]) == ("/x", f"rebind.example:{allowed.port}")


async def test_a_redirect_is_an_answer_like_any_other(server):
    with receiver() as elsewhere:
        server.status, server.headers = 302, {"Location": elsewhere.url}
        assert await status_of(a_client("127.0.0.0/8"), server.url) == 302
        assert elsewhere.received == []


async def test_user_and_password_are_sent_and_not_told(server):
    client = a_client("127.0.0.0/8")
    url = server.url.replace("http://", "http://ann:hunter2@")
    assert await status_of(client, url) == 200
    (got,) = server.received
    assert got.headers["authorization"] == "Basic YW5uOmh1bnRlcjI="
    assert "hunter2" not in got.headers["host"]
    with pytest.raises(Unreachable) as broken:
        await status_of(client, f"http://ann:hunter2@127.0.0.1:{free_port()}/?key=hunter2")
    assert "hunter2" not in broken.value.message


async def test_proxies_and_logins_of_the_environment_are_not_used(server, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("default login ann password hunter2\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert await status_of(a_client("127.0.0.0/8"), server.url) == 200
    assert "authorization" not in server.received[0].headers


async def test_a_name_in_other_letters_is_asked_for_as_name_servers_know_it(names, server):
    names["xn--strae-oqa.example"] = [["127.0.0.1"]]
    url = server.url.replace("127.0.0.1", "straße.example")
    assert await status_of(a_client("127.0.0.0/8"), url) == 200
    assert server.received[0].headers["host"].startswith("xn--strae-oqa.example:")


async def test_a_name_server_that_says_nothing_is_not_waited_for(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: over.wait())
    monkeypatch.setattr("core.outgoing._RESOLVE_SECONDS", 0.05)
    try:
        with pytest.raises(Unreachable):
            await a_client().check("http://slow.example/")
    finally:
        over.set()


async def test_a_server_that_says_nothing_is_unreachable(server):
    server.answers.clear()
    with pytest.raises(Unreachable):
        async with a_client("127.0.0.0/8").stream("GET", server.url, read_seconds=0.1):
            pass


async def test_certificates_are_checked_against_the_name(names, tmp_path, monkeypatch):
    authority, own = make_certificates(tmp_path, "hooks.example")
    names["hooks.example"] = names["other.example"] = [["127.0.0.1"]]
    with receiver(certificate=own) as server:
        port = server.port
        client = a_client("127.0.0.0/8")
        with pytest.raises(Unreachable):  # nobody knows who signed it
            await status_of(client, f"https://hooks.example:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        client = a_client("127.0.0.0/8")
        assert await status_of(client, f"https://hooks.example:{port}/") == 200
        for name in ("other.example", "127.0.0.1"):
            with pytest.raises(Unreachable):
                await status_of(client, f"https://{name}:{port}/")
        assert len(server.received) == 1


def make_certificates(folder: Path, name: str) -> tuple[Path, Path]:
    """Make an authority, and a server's certificate with its key that it has signed."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    subjects = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("us", name)]
    made = []
    for at, (key, subject) in enumerate(zip(keys, subjects, strict=True)):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subjects[0])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=at == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        made.append(builder.sign(keys[0], hashes.SHA256()))
    pem = serialization.Encoding.PEM
    authority, own = folder / "authority.pem", folder / "server.pem"
    authority.write_bytes(made[0].public_bytes(pem))
    private = keys[1].private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    own.write_bytes(made[1].public_bytes(pem) + private)
    return authority, own
