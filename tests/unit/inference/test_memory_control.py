"""Who may have memory registered."""

import pytest

from headrace.inference.core.memory import Region
from headrace.inference.memory_control import PEER_HEADER, NoMemory, TenantsMemory, is_local, is_loopback
from headrace.inference.regions import Regions
from headrace.runtime.errors import HeadraceError
from headrace.runtime.rpc import Call, Caller

OPERATOR = Caller("acme", frozenset({"operate"}))


def call(peer: str = "", header: str = "") -> Call:
    metadata = {PEER_HEADER: header} if header else {}
    return Call("/x", metadata, OPERATOR, 0.0, transport="h2" if peer else "h1", peer=peer)


@pytest.mark.parametrize(
    ("peer", "header", "local"),
    [
        ("ipv4:127.0.0.1:5000", "", True),
        ("ipv6:%5B::1%5D:5000", "", True),
        ("ipv6:[::1]:5000", "", True),
        ("ipv4:10.0.0.7:5000", "", False),
        # On a port of our own nobody vouches for the header.
        ("ipv4:10.0.0.7:5000", "127.0.0.1", False),
        ("", "127.0.0.1", True),
        ("unix:", "127.0.0.1", True),
        ("unix:/x.sock", "::1", True),
        ("", "10.0.0.7", False),
        ("unix:", "10.0.0.7", False),
        ("", "", False),
        ("unix:", "", False),
        ("unix:", "localhost", False),
        ("unknown", "127.0.0.1", False),
    ],
)
def test_who_is_on_this_machine(peer: str, header: str, local: bool) -> None:
    """The peer of our own port; on the gateway's sockets whoever it names, and nobody if it names none."""
    assert is_local(call(peer, header)) is local


def test_what_is_no_address_is_no_loopback() -> None:
    """Nor is a list of them."""
    assert not any(map(is_loopback, ("", "127.0.0.1, 10.0.0.7", "127.0.0.1:80", "localhost")))
    assert is_loopback("127.8.9.1")


async def test_memory_is_off_unless_it_is_on() -> None:
    """Nothing is there, nothing can be registered, and to unregister is no mistake."""
    memory = NoMemory()
    local = call("", "127.0.0.1")
    assert await memory.regions(local, "") == {}
    await memory.unregister(local, "r")
    for act, reason in (
        (memory.register(local, "r", Region("/a", 0, 8)), "SHARED_MEMORY_OFF"),
        (memory.regions(local, "r"), "REGION_NOT_FOUND"),
    ):
        with pytest.raises(HeadraceError) as error:
            await act
        assert error.value.reason == reason


async def test_refusals_are_the_contracts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each with its reason; a caller from elsewhere has nothing looked at."""
    shm = tmp_path_factory.mktemp("shm")
    (shm / "a").write_bytes(bytes(8))
    memory = TenantsMemory(Regions(tmp_path_factory.mktemp("registered"), shm))
    local = call("", "127.0.0.1")

    async def refused(where: Call, key: str) -> str:
        with pytest.raises(HeadraceError) as error:
            await memory.register(where, "r", Region(key, 0, 8))
        return error.value.reason

    assert await refused(call("", "10.0.0.7"), "/a") == "SHARED_MEMORY_REMOTE"
    assert await refused(local, "/../a") == "REGION_INVALID"
    await memory.register(local, "r", Region("/a", 0, 8))
    assert await refused(local, "/a") == "REGION_EXISTS"
    assert await memory.regions(local, "r") == await memory.regions(local, "") == {"r": Region("/a", 0, 8)}
    with pytest.raises(HeadraceError, match="REGION_NOT_FOUND"):
        await memory.regions(local, "other")
    for number in range(63):
        await memory.register(local, f"r{number}", Region("/a", 0, 8))
    with pytest.raises(HeadraceError, match="REGIONS_FULL"):
        await memory.register(local, "one more", Region("/a", 0, 8))
    await memory.unregister(local, "")
    assert await memory.regions(local, "") == {}
