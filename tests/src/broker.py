"""Judges queues and messages at a RabbitMQ: `PORT`, commands as JSON on standard input, answers on standard output."""

import json
import sys
import time

import pika


def connect():
    parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
    for last in [False] * 200 + [True]:
        try:
            return pika.BlockingConnection(parameters)
        except pika.exceptions.AMQPError:
            if last:
                raise
            time.sleep(0.1)


def declare(channel, command):
    try:
        found = channel.queue_declare(
            command["queue"],
            durable=True,
            passive=command.get("passive", False),
            arguments=command.get("arguments"),
        )
        return {"ready": found.method.message_count}
    except pika.exceptions.ChannelClosedByBroker as refusal:
        return {"refused": refusal.reply_code, "text": refusal.reply_text}


def delete(channel, command):
    channel.queue_delete(command["queue"])


def put(channel, command):
    channel.confirm_delivery()
    for message in command["messages"]:
        properties = pika.BasicProperties(delivery_mode=2, **message["properties"])
        body = message["body"].encode()
        channel.basic_publish("", command["queue"], body, properties, mandatory=True)


def plain(value):
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def seen(method, properties, body):
    return {
        "body": body.decode(),
        "message_id": properties.message_id,
        "priority": properties.priority,
        "user_id": properties.user_id,
        "correlation_id": properties.correlation_id,
        "delivery_mode": properties.delivery_mode,
        "redelivered": method.redelivered,
        "headers": plain(properties.headers or {}),
    }


def consume(channel, command):
    """Takes the messages that are there one by one, and accepts or refuses each."""
    count = channel.queue_declare(command["queue"], passive=True).method.message_count
    channel.basic_qos(prefetch_count=1)
    taken = []
    while len(taken) < count:
        for method, properties, body in channel.consume(command["queue"], inactivity_timeout=30):
            if method is None:
                return taken
            taken.append(seen(method, properties, body))
            if command.get("refuse"):
                channel.basic_nack(method.delivery_tag, requeue=False)
            else:
                channel.basic_ack(method.delivery_tag)
            if len(taken) == count:
                break
    channel.cancel()
    return taken


def hold(channel, command):
    """Takes one message and keeps it until this process ends."""
    channel.basic_qos(prefetch_count=1)
    for method, properties, body in channel.consume(command["queue"]):
        print("holding", flush=True)


command = json.load(sys.stdin)
connection = connect()
verbs = {"declare": declare, "delete": delete, "put": put, "consume": consume, "hold": hold}
answer = verbs[command["do"]](connection.channel(), command)
connection.close()
json.dump(answer, sys.stdout)
