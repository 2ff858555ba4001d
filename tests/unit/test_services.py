"""Replicas and their addresses, from the entries of `api_services`."""

from plugins.filter.services import replicas


def test_each_replica_has_a_name_and_an_address_of_its_own() -> None:
    services = [{"name": "v1", "replicas": 2}, {"name": "v2", "replicas": 1}]
    found = replicas(services, "app", "172.28.7", 8000)
    assert [(r["name"], r["container"], r["address"]) for r in found] == [
        ("v1-1", "app-api-v1-1", "172.28.7.21"),
        ("v1-2", "app-api-v1-2", "172.28.7.22"),
        ("v2-1", "app-api-v2-1", "172.28.7.41"),
    ]
    assert {(r["service"], r["port"]) for r in found} == {("v1", 8000), ("v2", 8000)}


def test_another_replica_leaves_the_addresses_of_the_others() -> None:
    few = replicas([{"name": "v1", "replicas": 1}, {"name": "v2", "replicas": 1}], "s", "10.0.0", 1)
    more = replicas(
        [{"name": "v1", "replicas": 19}, {"name": "v2", "replicas": 1}], "s", "10.0.0", 1
    )
    assert all(replica in more for replica in few)
    assert len({replica["address"] for replica in more}) == 20
