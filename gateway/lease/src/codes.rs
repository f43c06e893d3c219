//! The error codes of agents, `QS10nn`.

quayside_model::codes! {
    PROGRAM = "QS1001", "The agent cannot use the program that runs the hosts.",
        "Install `quayside` of the same version beside `quayside-agent`, or name it with `--program`.";
    NO_CLUSTER = "QS1002", "An agent needs a store that several processes can use.",
        "Name a PostgreSQL database in `[store] url`; on one machine `quayside run` needs no agent.";
    RUN_DIR = "QS1003", "The run folder of the agent cannot be used.",
        "Make it writable for the agent's user, keep its path short, and run one agent for it.";
    THREAD = "QS1004", "A part of the agent failed.",
        "Let its supervisor start it again, and report it with the log lines before.";
    STORE_CALL = "QS1005", "The agent cannot ask the store.",
        "Nothing, if it is rare; otherwise look at the database and the network between.";
    HOST_ENDED = "QS1006", "The process of a host has ended.",
        "The agent starts it again; look at its log lines before the end.";
    HOST_START = "QS1007", "The process of a host cannot be started.",
        "Repair what the message names; the agent tries again.";
    HOST_KILLED = "QS1008", "The agent has killed the process of a host.",
        "The line tells why; work that was under way is in the store and goes on elsewhere, sends in doubt are listed.";
    STALE_STORE = "QS1009", "The database that answers has an older history than one that answered before.",
        "Stop the old primary: two databases take writes.";
    WATCHDOG = "QS1010", "The agent's watchdog had to act because its lease thread hung.",
        "Look for a machine without processor time or memory at that moment.";
    ASYNCHRONOUS = "QS1011", "A failover of the database may lose what was accepted.",
        "Set `synchronous_standby_names` at PostgreSQL, or allow that by `[cluster] allow_loss = true` on every node.";
    BAD_CONFIG = "QS1012", "The configuration of the node is refused.",
        "Correct what the lines before name; `quayside hosts` with the same files tells the same.";
    NAMESAKE = "QS1013", "Another agent has the name of this node.",
        "Give each node its own `[node] name`, or stop the other agent.";
}
