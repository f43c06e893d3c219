"""Does commands at a RabbitMQ on this machine, one after the other: `PORT FILE`, a list of commands in FILE as
JSON. Bytes are written `{"hex": DIGITS}`, in both directions."""

import json
import sys
import time

import pika

PROPERTIES = (
    "content_type delivery_mode priority correlation_id reply_to expiration message_id timestamp type "
    "user_id app_id"
).split()


def from_json(value):
    if isinstance(value, dict) and list(value) == ["hex"]:
        return bytes.fromhex(value["hex"])
    return value


def to_json(value):
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {name: to_json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [to_json(inner) for inner in value]
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def declare(channel, command):
    arguments = command.get("arguments", {"x-queue-type": "quorum"})
    for last in [False] * 200 + [True]:
        try:
            channel().queue_declare(command["queue"], durable=True, arguments=arguments)
            return
        except pika.exceptions.AMQPError:
            if last:
                raise
            time.sleep(0.1)


def put(channel, command):
    properties = dict(command["properties"])
    headers = {name: from_json(value) for name, value in properties.pop("headers", {}).items()}
    properties = pika.BasicProperties(headers=headers, **properties)
    there = channel()
    there.confirm_delivery()
    there.basic_publish("", command["queue"], command["body"].encode(), properties, mandatory=True)


def take(channel, command):
    there = channel()
    taken = []
    while True:
        method, properties, body = there.basic_get(command["queue"])
        if method is None:
            return taken
        there.basic_ack(method.delivery_tag)
        told = {name: getattr(properties, name) for name in PROPERTIES}
        told = {name: value for name, value in told.items() if value is not None}
        told["headers"] = to_json(properties.headers or {})
        taken.append({"body": body.decode(), **told})


def count(channel, command):
    return channel().queue_declare(command["queue"], passive=True).method.message_count


port, file = sys.argv[1:]
with open(file) as text:
    commands = json.load(text)
connection = None


def channel():
    global connection
    if connection is None or connection.is_closed:
        parameters = pika.ConnectionParameters("127.0.0.1", int(port))
        connection = pika.BlockingConnection(parameters)
    return connection.channel()


VERBS = {"declare": declare, "put": put, "take": take, "count": count}
json.dump([VERBS[command["do"]](channel, command) for command in commands], sys.stdout)
