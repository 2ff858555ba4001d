"""The filters for what is written on the machine."""

import base64
import hashlib

from plugins.filter.files import file_entries, salted_sha1


def test_each_text_is_an_entry_of_its_folder() -> None:
    assert file_entries({"a": "1", "b": "2"}, "/etc/x", mode="0640") == [
        {"path": "/etc/x/a", "content": "1", "mode": "0640"},
        {"path": "/etc/x/b", "content": "2", "mode": "0640"},
    ]


def test_a_generated_password_has_the_same_salted_hash_in_each_run() -> None:
    scheme, _, encoded = salted_sha1("correct horse", "anna").rpartition("}")
    raw = base64.b64decode(encoded)
    assert (scheme, len(raw)) == ("{SSHA", 28)
    assert raw[:20] == hashlib.sha1(b"correct horse" + raw[20:]).digest()
    assert salted_sha1("correct horse", "anna") == f"{scheme}}}{encoded}"
    assert salted_sha1("correct horse", "berta") != f"{scheme}}}{encoded}"
