"""Puts messages as no decent client would: `PORT`, a list of messages as JSON on standard input.

A message is `{"queue", "body"}` and, in hexadecimal digits, `id`, the content of the table `headers`, and `key`, a
routing key by which it goes to its queue over an exchange; or a number, `deep`, of tables within each other.
"""

import json
import struct
import sys

import pika


class Properties(pika.BasicProperties):
    """As they are given, right or wrong."""

    def __init__(self, message_id, headers):
        super().__init__(delivery_mode=2)
        self.raw = (message_id, headers)

    def encode(self):
        message_id, headers = self.raw
        flags = struct.pack(">H", 1 << 13 | 1 << 12 | 1 << 7)
        table = struct.pack(">I", len(headers)) + headers
        return [flags, table, b"\x02", bytes([len(message_id)]), message_id]


def nested(deep):
    table = b""
    for _ in range(deep):
        table = b"\x01kF" + struct.pack(">I", len(table)) + table
    return table


def put(channel, message):
    headers = bytes.fromhex(message.get("headers", "")) + nested(message.get("deep", 0))
    properties = Properties(bytes.fromhex(message["id"]), headers)
    exchange, key = "", message["queue"].encode()
    if "key" in message:
        exchange, key = "any", bytes.fromhex(message["key"])
        channel.exchange_declare(exchange, "topic", durable=True)
        channel.queue_bind(message["queue"], exchange, "#")
    channel.basic_publish(exchange, key, message["body"].encode(), properties, mandatory=True)


channel = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))).channel()
channel.confirm_delivery()
for message in json.load(sys.stdin):
    put(channel, message)
