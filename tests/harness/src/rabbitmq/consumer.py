"""Takes what comes into queues of a RabbitMQ on this machine: `PORT LOG QUEUE...`.

LOG gets a line `TIME QUEUE MESSAGE_ID REDELIVERED ID KEY SEQUENCE EPOCH` for each message: ID, KEY and SEQUENCE from
its body, EPOCH from its header `quayside-epoch` or 0, the time in microseconds since 1970. A message is acknowledged
after its line is written. After SIGTERM it ends when the queues are empty.
"""

import json
import logging
import signal
import sys
import time

import pika

RETRY = 0.05

stopping = False


def stop(*_):
    global stopping
    stopping = True


def consume(port, log, queues):
    parameters = pika.ConnectionParameters(
        "127.0.0.1", port, heartbeat=4, socket_timeout=2, stack_timeout=2
    )
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=500)
    last = None

    def take(_channel, method, properties, body):
        nonlocal last
        last = method.delivery_tag
        at = time.time_ns() // 1000
        body = json.loads(body)
        redelivered = int(method.redelivered)
        where = (method.routing_key, properties.message_id, redelivered)
        epoch = (properties.headers or {}).get("quayside-epoch", 0)
        print(at, *where, body["id"], body["key"], body["seq"], epoch, file=log)

    def cancelled(_method):
        connection.close()

    channel.add_on_cancel_callback(cancelled)
    for queue in queues:
        channel.basic_consume(queue, take)
    while True:
        connection.process_data_events(time_limit=0.05)
        if last is not None:
            log.flush()
            channel.basic_ack(last, multiple=True)
            last = None
        elif stopping and not any(waiting(channel, queue) for queue in queues):
            connection.close()
            sys.exit()


def waiting(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


logging.getLogger("pika").setLevel(logging.CRITICAL)
port, log, *queues = sys.argv[1:]
signal.signal(signal.SIGTERM, stop)
with open(log, "w") as file:
    while True:
        try:
            consume(int(port), file, queues)
        except pika.exceptions.AMQPError:
            time.sleep(RETRY)
