"""Puts messages into queues of a RabbitMQ on this machine until SIGTERM: `PORT LOG PLAN`, the plan as JSON.

Each message has a business id, an order key and a sequence in its body, and its business id as `message_id`.
A key has one message unconfirmed at a time; after a fault it is published again, the same with the same
`message_id`, before the next one of its key. So it is when a broker that takes messages does not confirm one in time, or
refuses all for a while: RabbitMQ 3.10 does either without end on a channel that was opened while the queue had no leader.
LOG gets a line `confirmed TIME KEY SEQUENCE` for each
confirmation and a line for each change of the connection, with times in microseconds since the epoch.
"""

import json
import logging
import signal
import sys
import time
from collections import deque
from functools import partial

import pika
from pika.adapters.select_connection import IOLoop

TICK = 0.01
RETRY = 0.05
CONFIRM = 10
REFUSED = 1


def now_us():
    return time.time_ns() // 1000


class Producer:
    def __init__(self, port, log, plan):
        self.parameters = pika.ConnectionParameters(
            "127.0.0.1", port, heartbeat=4, socket_timeout=2, stack_timeout=2
        )
        self.log = log
        self.rate = plan["rate"]
        self.pad = "x" * plan["pad"]
        # Keys by their turn; those with a message on its way wait for its confirmation.
        self.idle = deque((queue, key) for queue, keys in plan["queues"].items() for key in keys)
        self.sequence = {key: 0 for _, key in self.idle}
        self.unconfirmed = {}
        self.published = {}
        self.refused = None
        self.tags = {}
        self.budget = 0.0
        self.last = time.monotonic()
        self.stopping = False
        self.blocked = False
        self.channel = None
        self.loop = IOLoop()

    def run(self):
        self.connect()
        self.tick()
        self.loop.start()

    def say(self, *words):
        print(words[0], now_us(), *words[1:], file=self.log)

    def connect(self):
        pika.SelectConnection(
            self.parameters,
            on_open_callback=self.opened,
            on_open_error_callback=self.failed,
            on_close_callback=self.failed,
            custom_ioloop=self.loop,
        )

    def opened(self, connection):
        self.blocked = False
        connection.add_on_connection_blocked_callback(lambda *_: self.block(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self.block(False))
        connection.channel(on_open_callback=self.ready)

    def block(self, blocked):
        self.blocked = blocked
        self.say("blocked" if blocked else "unblocked")

    def failed(self, _connection, _reason):
        if self.channel is not None:
            self.say("lost")
        self.channel = None
        self.loop.call_later(RETRY, self.connect)

    def ready(self, channel):
        channel.add_on_close_callback(self.channel_closed)
        channel.add_on_return_callback(self.returned)
        channel.confirm_delivery(self.answered)
        self.channel = channel
        self.tags = {}
        self.refused = None
        self.next_tag = 1
        self.say("connected")
        for key in list(self.unconfirmed):
            self.publish(key)

    def channel_closed(self, channel, _reason):
        if channel.connection.is_open:
            channel.connection.close()

    def returned(self, _channel, method, _properties, _body):
        sys.exit(f"returned: {method.reply_code} {method.reply_text} {method.routing_key}")

    def answered(self, frame):
        tag = frame.method.delivery_tag
        tags = [t for t in self.tags if t <= tag] if frame.method.multiple else [tag]
        for tag in tags:
            key = self.tags.pop(tag)
            if isinstance(frame.method, pika.spec.Basic.Nack):
                self.refused = self.refused or time.monotonic()
                self.loop.call_later(RETRY, partial(self.again, self.channel, key))
                continue
            self.refused = None
            queue, sequence = self.unconfirmed.pop(key)
            self.published.pop(key)
            self.say("confirmed", key, sequence)
            self.idle.append((queue, key))

    def again(self, channel, key):
        # Over a new channel everything has gone out once more already.
        if channel is self.channel and channel.is_open:
            self.publish(key)

    def publish(self, key):
        queue, sequence = self.unconfirmed[key]
        name = f"{key}.{sequence}"
        body = json.dumps({"id": name, "key": key, "seq": sequence, "pad": self.pad})
        properties = pika.BasicProperties(
            message_id=name, delivery_mode=2, content_type="application/json", headers={"key": key}
        )
        self.published[key] = time.monotonic()
        self.tags[self.next_tag] = key
        self.next_tag += 1
        self.channel.basic_publish("", queue, body.encode(), properties, mandatory=True)

    def tick(self):
        at = time.monotonic()
        # What an outage kept back is not made up for: the rate after it is the rate before it.
        self.budget = min(self.budget + self.rate * (at - self.last), self.rate * 5 * TICK)
        self.last = at
        may = self.channel is not None and self.channel.is_open and not self.blocked
        while may and not self.stopping and self.idle and self.budget >= 1:
            self.budget -= 1
            queue, key = self.idle.popleft()
            self.unconfirmed[key] = (queue, self.sequence[key])
            self.sequence[key] += 1
            self.publish(key)
        late = any(at - then > CONFIRM for then in self.published.values())
        if may and (late or self.refused and at - self.refused > REFUSED):
            self.channel.connection.close()
        self.log.flush()
        if self.stopping and not self.unconfirmed:
            self.loop.stop()
            return
        self.loop.call_later(TICK, self.tick)

    def stop(self, *_):
        self.stopping = True


logging.getLogger("pika").setLevel(logging.CRITICAL)
port, log, plan = sys.argv[1:]
with open(log, "w") as file:
    producer = Producer(int(port), file, json.loads(plan))
    signal.signal(signal.SIGTERM, producer.stop)
    producer.run()
