"""The partitioner of Kafka's Java client, against values that others computed."""

import hashlib

import pytest

from chaosharness.machines.kafka.partitioners import log_partition_for, murmur2

JAVA = {  # Apache Kafka, UtilsTest.testMurmur2
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}

OTHER_CLIENTS = "563e3531efdd8263"
"""Digest of the hashes of `KEYS` by aiokafka 0.14.0 and by kafka-python 3.0.12: the same."""

KEYS = [
    hashlib.blake2b(str(number).encode(), digest_size=number % 60 + 1).digest()
    for number in range(1_000)
]


@pytest.mark.parametrize("key", JAVA)
def test_a_hash_is_that_of_the_java_client(key):
    assert murmur2(key) == JAVA[key] % 2**32


def test_a_thousand_hashes_are_those_of_aiokafka_and_kafka_python():
    hashes = b"".join(murmur2(key).to_bytes(4, "big") for key in KEYS)
    assert hashlib.blake2b(hashes, digest_size=8).hexdigest() == OTHER_CLIENTS


def test_the_sign_of_a_hash_is_ignored():
    assert log_partition_for("21", 8) == (-973932308 & 0x7FFFFFFF) % 8
    assert log_partition_for("abc", 8) == 479470107 % 8


def test_keys_spread_over_the_log_partitions():
    counts = [0] * 8
    for number in range(800):
        counts[log_partition_for(f"order-{number}", 8)] += 1
    assert min(counts) > 60
