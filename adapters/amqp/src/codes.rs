//! The error codes of the AMQP adapter, `QS09nn`.

quayside_adapter_api::model::codes! {
    UNREACHABLE = "QS0901", "The broker cannot be reached, or the connection to it was lost.",
        "Look whether the broker runs and the network lets this machine reach it; it is tried again by itself.";
    LOGIN_REFUSED = "QS0902", "The broker refuses the user or the virtual host.",
        "Correct `user` and `password`, or give the user the right to the virtual host and the queue.";
    QUEUE_MISSING = "QS0903", "The queue does not exist.",
        "Create the queue; an adapter never does it, because its arguments decide what it promises.";
    RETURNED = "QS0904", "The broker returned the message: no queue takes it.",
        "Create the queue or correct its name; the message is tried again by the port's schedule.";
    NOT_TAKEN = "QS0905", "The broker refused to take the message.",
        "Look whether the queue is full or cannot reach its copies; the message is tried again.";
    UNCONFIRMED = "QS0906", "The broker did not confirm in time, or the connection was lost before it did.",
        "Nothing: it is sent again with the same `message_id`, by which its consumer can tell.";
    BLOCKED = "QS0907", "The broker takes nothing now: its memory or disk is short.",
        "Free memory or disk of the broker; sending goes on by itself.";
    NOT_TRUSTED = "QS0908", "This process was paused for so long that it may not act any more.",
        "Nothing: another attempt is made by a process that may.";
    BAD_URL = "QS0909", "The URL of a broker cannot be used.",
        "Write amqp://HOST:PORT/VHOST or amqps://HOST:PORT/VHOST, with `%2f` for the virtual host `/`.";
    BAD_SETTING = "QS0910", "A setting of a queue has a value that cannot work.",
        "Give a value that the message names.";
    BAD_TLS = "QS0911", "The certificates to trust cannot be used.",
        "Give a readable PEM file with at least one certificate in `ca`.";
    QUEUE_REFUSED = "QS0912", "The name of a queue is not allowed.",
        "Correct the template or the property that it takes the name from.";
    TOO_LARGE = "QS0913", "The message is larger than `max_body`.",
        "Raise `max_body`, at most to what the broker takes, or have the message sent another way.";
    NO_KEY = "QS0914", "Repeats of messages cannot be recognised.",
        "Let the sender set `message_id`, or name the header that tells messages apart in `dedupe`.";
    NO_DEAD_LETTER = "QS0915", "There is no queue for messages that are not acceptable.",
        "Name one in `dead_letter`.";
    REFUSED = "QS0916", "A message of the queue is not acceptable, and the location may not go on without it.",
        "Look into the log for its `message_id`; take it from the queue, or choose another `on_failure`.";
    CLOSED = "QS0917", "The location is closed.",
        "Nothing: the host stops or the configuration changed.";
    NO_ANSWER = "QS0918", "A port with the meaning of MSMQ neither asks nor answers.",
        "Leave `msmq` out where somebody waits for an answer; `properties` writes what the other side has to see.";
    UNORDERED = "QS0920", "The queue does not keep the order of its messages.",
        "Declare it anew with `x-single-active-consumer`, or set `ordered = false` on the receive port.";
    NOT_EXCLUSIVE = "QS0921", "The queue does not belong to one consumer alone.",
        "Remove `exclusive` and declare the queue with `x-single-active-consumer`; quorum queues ignore `exclusive`.";
    NOT_INSPECTED = "QS0922", "What the queue promises could not be seen.",
        "Give the user the right to configure the queue, or see to its arguments yourself.";
    VOLATILE = "QS0923", "The queue does not outlive its broker or its consumers.",
        "Declare it anew as a durable queue that is not deleted by itself.";
    UNSAFE_STOP = "QS0924", "A location would stop in front of messages that their queue does not keep.",
        "Set `transactional = true` in `msmq` and at the sender, declare the queue anew without `x-delivery-limit`, or choose another `on_failure`.";
    UNREADABLE = "QS0925", "A message has properties that the protocol does not allow.",
        "Have its sender write texts as UTF-8; the gateway takes others as Latin-1, and leaves out headers that are nested too deep.";
    UNCONFINED = "QS0930", "Messages could choose any queue of the broker.",
        "Begin the name with text of its own, such as `orders.{Country}`, or list in `queues` which ones it may be.";
    BAD_PROPERTY = "QS0931", "A property of a message has a value that AMQP cannot carry.",
        "Correct the setting in `properties`, or the property of the message that its template names.";
    NOT_ANSWERED = "QS0932", "A request was not answered as it should have been.",
        "Look whether the other side takes requests and answers to `reply_to` with their `correlation_id`.";
    ANSWERS_SHARED = "QS0933", "Somebody else takes answers from the queue of a port.",
        "Give each port, and each process of a host, a queue of its own in `answer.queue`, or leave the setting out.";
    ANSWER_LOST = "QS0934", "Nobody waits any more for an answer that came.",
        "Nothing if it was late; else look whether both sides agree in how long an answer may take.";
    MSMQ_NAME = "QS0940", "The text is no name of an MSMQ queue.",
        "Write a path such as `host\\private$\\orders` or a format name such as `DIRECT=OS:host\\private$\\orders`.";
    MSMQ_NO_QUEUE = "QS0941", "The name of an MSMQ queue stands for nothing that there is in AMQP.",
        "Do what the message says, or name the queue of AMQP itself.";
    MSMQ_PROPERTY = "QS0942", "A property of MSMQ has a value that it cannot have, or that contradicts another.",
        "Correct the setting, or the property of the message that its template names.";
    MSMQ_NO_ADMIN = "QS0943", "Acknowledgments and the queue that takes them do not fit together.",
        "Set both `acknowledge` and `administration_queue`, or none of them.";
    MSMQ_LATE = "QS0944", "A message was not delivered to its queue, and is not tried again.",
        "Take it from the dead letter queue; its class there tells the reason.";
    MSMQ_EXPIRED = "QS0945", "A message was not received in the time that its sender gave it.",
        "Look why it waited; its sender may want a longer `time_to_be_received`.";
    MSMQ_TRANSACTIONAL = "QS0946", "A message and its queue differ in whether they are transactional.",
        "Let sender and receive location agree in `transactional`; the message is in the dead letter queue.";
    MSMQ_NO_ACK = "QS0947", "An acknowledgment could not be delivered, and is dropped.",
        "Create the queue that the sender waits at, or have the sender ask for none.";
    MSMQ_NO_COPY = "QS0948", "A journal or a dead letter queue does not take a copy.",
        "Create the queue that the message names; what needs it waits meanwhile.";
    DIFFERS = "QS0950", "A queue is there with other arguments than it should have.",
        "Change its definition, or have the queue emptied, deleted and declared anew: arguments cannot be changed.";
    BAD_DEFINITION = "QS0951", "The definition of a queue cannot work.",
        "Correct what the message names in `queues.toml`.";
    ORDER_LOST = "QS0952", "A queue as it is defined would not keep the order that a location asks for.",
        "Define it as `transactional` with `single_active_consumer`, or set `ordered = false` on the receive port.";
    WOULD_HARM = "QS0953", "Looking at the messages of the queue would do harm, or is not possible.",
        "Stop its consumers first, the gateway's with `quayside ports stop NAME`.";
    NO_ORIGIN = "QS0954", "A message does not tell which queue it came from.",
        "Name the queue that it is to go to with `--to QUEUE`.";
    NO_MANAGEMENT = "QS0955", "The management API of the broker does not answer as it should.",
        "Correct `management`, or leave it out: then less is shown.";
    NO_BROKER = "QS0956", "It is not known which broker is meant.",
        "Name it with `--url URL`, or with `url` in `[broker]` of `queues.toml`.";
}
