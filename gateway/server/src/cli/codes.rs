//! The error codes of the command line, the admin API and the life cycle, `QS07nn`.

quayside_model::codes! {
    NO_NODE = "QS0701", "No node answers at the admin address.",
        "Start one with `quayside run` or `quayside dev`, or name its address with `--admin URL` or QUAYSIDE_ADMIN.";
    API_REFUSED = "QS0702", "The node refused the call.",
        "Do what the message says.";
    UNAUTHORIZED = "QS0703", "The admin API wants a token.",
        "Give it in QUAYSIDE_TOKEN; it is the secret that `[admin] token` of the node names.";
    NOT_FOUND = "QS0704", "There is no such thing.",
        "List what there is with `quayside messages list`, `quayside ports list`, `quayside orchestrations list` or `quayside cluster status`.";
    BAD_REQUEST = "QS0705", "The call cannot be understood.",
        "Correct the parameter that the message names; /api/v1/openapi.json describes all of them.";
    NOT_RUNNING = "QS0706", "The engine is starting, restarting or stopping.",
        "Try again in a moment.";
    FILE = "QS0707", "A file cannot be read or written.",
        "Check its path and permissions.";
    EXISTS = "QS0708", "Something is there already and would be lost.",
        "Name another place, or move it away first.";
    BIND = "QS0709", "The address cannot be listened on.",
        "Choose a free address of this machine, or stop the program that has it.";
    TLS_FILES = "QS0710", "The certificate or key of a listener cannot be used.",
        "Give a PEM certificate chain and its unencrypted PEM private key.";
    SECRET = "QS0711", "A secret cannot be read.",
        "Put it as a file of this name, mode 0600, into the secrets folder.";
    POSTGRES_TOOLS = "QS0712", "PostgreSQL is backed up and restored with its own tools.",
        "Run the command that the message shows.";
    START = "QS0713", "The engine cannot start.",
        "Repair what the message names.";
    RESTARTED = "QS0714", "The engine was lost and is started again.",
        "Nothing, if it is rare; otherwise look for pauses of the machine, the network or the store.";
    UNFINISHED = "QS0715", "Work was still under way when the time to stop was over.",
        "Nothing: it is in the store and another instance goes on with it; partners may see a repeat.";
    RELOAD = "QS0716", "The changed configuration is not applied.",
        "Correct it and reload; the old one stays in force.";
    UNTAKEN = "QS0717", "The node did not take the message.",
        "Do what the node's answer says.";
    PARTLY = "QS0718", "Some of the deliveries or instances were not changed.",
        "Look at the outcome of each; a busy one can be tried again in a moment.";
    FOREIGN = "QS0720", "The call comes from a place that may not make it.",
        "Call the admin API by its IP address or as localhost, from a program or from its own pages.";
    GIVEN_UP = "QS0721", "The process cannot stay alive as a member of its group and ends.",
        "Let its supervisor start it again (exit code 12); look for long pauses of the machine, the network or the store.";
    AGENT = "QS0722", "The process and the agent that started it do not understand each other.",
        "Run `quayside` and `quayside-agent` of one version; the agent starts the process anew.";
    NO_CLUSTER = "QS0723", "The store is for one process: it keeps no cluster.",
        "Name a PostgreSQL database in `[store] url`, and run `quayside-agent` on each node; one process needs no cluster.";
    NOTHING_TO_MOVE = "QS0724", "The host cannot be moved: it runs nowhere under a cluster agent.",
        "Look at `quayside cluster status`: it tells what keeps the host from running.";
    NOT_MOVED = "QS0725", "The host was not moved as it was ordered.",
        "`quayside cluster status -o json` tells which nodes can take it, and why the others cannot.";
    NOT_YET = "QS0726", "It is not done within the time that was given.",
        "Nothing: what was ordered stands; `quayside cluster status` tells how far it is.";
    NO_DRILL = "QS0727", "A takeover of the host cannot be rehearsed now.",
        "Repair what the message names; `quayside cluster status` tells what keeps other nodes from taking over.";
    DRILL_LOST = "QS0728", "Deliveries that the owner had in hand are neither there nor have they ended.",
        "Report it with the log lines of both nodes and `quayside messages show` of messages of that time.";
    STORE_IN_USE = "QS0729", "Processes work on the store.",
        "Stop the agents and processes of all nodes, then run the command again.";
    STORE_CLOCK = "QS0730", "The clock of the store is wrong, and epochs could repeat.",
        "Set the clock of the machine that the store is on, then run the command again.";
    CASE_FAILED = "QS0731", "A test case of an application came out otherwise than it says.",
        "Correct the application, or the case: the place that is named says what was expected, and below it what came.";
    NO_CASE = "QS0732", "There is no such test case.",
        "Write cases as [[test]] into tests/NAME.test.toml beside app.toml; docs/testing-applications.md has a whole one.";
    NOT_NOW = "QS0733", "An order does not fit how the orchestration instance stands.",
        "See how it stands with `quayside orchestrations show ID`.";
    INTERNAL = "QS0719", "A part of the program failed.",
        "Report it with the log line.";
}
