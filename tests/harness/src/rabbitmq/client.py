"""Does one command at a RabbitMQ on this machine: `PORT FILE`, the command in FILE as JSON."""

import json
import sys
import time

import pika


def patiently(act):
    """A queue with several copies may not be ready the moment that its server listens."""
    for last in [False] * 200 + [True]:
        try:
            return act()
        except pika.exceptions.AMQPError:
            if last:
                raise
            time.sleep(0.1)


def channel_of(port):
    return pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port)).channel()


def declare(channel, command):
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 20}
    if command["single"]:
        arguments["x-single-active-consumer"] = True
    channel.queue_declare(command["queue"], durable=True, arguments=arguments)


def put(channel, command):
    channel.confirm_delivery()
    for body, message_id, key in command["messages"]:
        properties = pika.BasicProperties(
            message_id=message_id, delivery_mode=2, headers={"key": key}
        )
        channel.basic_publish("", command["queue"], body.encode(), properties, mandatory=True)


def count(channel, command):
    return channel.queue_declare(command["queue"], passive=True).method.message_count


def take(channel, command):
    taken = []
    for _ in range(count(channel, command)):
        method, properties, body = channel.basic_get(command["queue"])
        if method is None:
            break
        channel.basic_ack(method.delivery_tag)
        headers = {name: str(value) for name, value in (properties.headers or {}).items()}
        taken.append(
            {
                "body": body.decode(),
                "message_id": properties.message_id,
                "delivery_mode": properties.delivery_mode,
                "content_type": properties.content_type,
                "headers": headers,
            }
        )
    return taken


port, file = sys.argv[1:]
with open(file) as text:
    command = json.load(text)
port = int(port)
if command["do"] in ("declare", "count"):
    verb = {"declare": declare, "count": count}[command["do"]]
    answer = patiently(lambda: verb(channel_of(port), command))
else:
    patiently(lambda: count(channel_of(port), command))
    answer = {"put": put, "take": take}[command["do"]](channel_of(port), command)
json.dump(answer, sys.stdout)
