//! The error codes of the configuration, `QS06nn`.

quayside_model::codes! {
    SYNTAX = "QS0601", "The file is not TOML.",
        "Correct the text at the place that the message names.";
    UNKNOWN_KEY = "QS0602", "A key is not known here.",
        "Correct or remove the key.";
    WRONG_VALUE = "QS0603", "A value has the wrong type or form.",
        "Give a value of the form that the message names.";
    MISSING_KEY = "QS0604", "A required key is missing.",
        "Add the key that the message names.";
    BAD_NAME = "QS0605", "A name does not have the form of a name.",
        "Use letters, digits, `-` and `_`, beginning with a letter or digit; no dots.";
    UNKNOWN_ADAPTER = "QS0606", "There is no adapter of this name.",
        "Use one of the adapters that the message names as the key.";
    ONE_ADAPTER = "QS0607", "A transport or location has not exactly one adapter.",
        "Give one sub-table whose key is the adapter, as in `[send.erp.primary.http]`.";
    VAR_MISSING = "QS0608", "A variable is used, but the group does not define it.",
        "Add it to `[vars]` of the group's file, and check with `--group FILE`.";
    VAR_UNUSED = "QS0609", "A variable is defined, but no application uses it.",
        "Remove it from `[vars]`, or correct its name.";
    LITERAL_SECRET = "QS0610", "A secret stands in the configuration as text.",
        "Put it into the secrets folder and write `{ secret = \"NAME\" }`.";
    URL_CREDENTIALS = "QS0611", "A URL holds a password.",
        "Take the password out of the URL and give it as `{ secret = \"NAME\" }` under the adapter's own key.";
    ORDERED_BACKUP = "QS0612", "A send port is ordered and has a backup transport, which cannot keep the order.",
        "Remove either `ordered` or `[send.NAME.backup]`.";
    TWO_WAY = "QS0613", "A request would not have exactly one subscriber that answers.",
        "Give one send port with `answers = true` whose filter fits the request.";
    UNKNOWN_MESSAGE = "QS0614", "A message is named that the application does not define.",
        "Add `[message.NAME]`, or correct the name.";
    UNKNOWN_HOST = "QS0615", "A port names a host that the group does not define.",
        "Add `[host.NAME]` to the group's file, or correct the name.";
    ROLE = "QS0616", "A host does not have the role that a port of it needs.",
        "Add the role to `roles` of the host, or move the port to another host.";
    NOT_A_MEMBER = "QS0617", "A node or host is named that is not part of the group.",
        "Use a name that the group's file defines.";
    FILTER = "QS0618", "A filter cannot be compiled.",
        "Correct the expression at the place that the message names.";
    NEVER_PROMOTED = "QS0619", "A property is named that no message promotes.",
        "Promote it in `[message.NAME.promote]`, or correct its name: as it is, the value is never there.";
    WINDOW = "QS0620", "A service window cannot be read.",
        "Write days and times as in `mon-fri 06:00-22:00`, with a time zone of the IANA database.";
    CLASH = "QS0622", "Two things claim the same address.",
        "Give each its own address or path.";
    NOT_LOOPBACK = "QS0623", "The admin listener can be reached from other machines, but is not protected.",
        "Listen on 127.0.0.1, or set both `[admin] tls` and `[admin] token`.";
    UNREADABLE = "QS0624", "A file cannot be read.",
        "Check its path and permissions.";
    ENV_MISSING = "QS0625", "An environment variable is used, but not set.",
        "Set it for the process, or write the value into the node's file.";
    NO_APPLICATION = "QS0626", "The folder holds no application.",
        "Name a folder with an `app.toml` in it, or one whose sub-folders have one; `quayside init DIR` makes one.";
    DUPLICATE = "QS0627", "Two things have the same name.",
        "Give each its own name.";
    NOTHING_TO_DO = "QS0629", "A port has nothing that makes it work.",
        "Add what the message names, or remove the port.";
    LIMIT = "QS0630", "A number is outside of its limits.",
        "Give a number within the limits that the message names.";
    FILTER_KIND = "QS0631", "A filter compares things of different kinds, so that it never matches.",
        "Compare text with text in quotes and numbers with numbers, or give the property another `type`.";
    NEVER_MATCHES = "QS0632", "No message that is received can match a filter.",
        "Correct the filter, or name the message in `message` of the receive port that it comes in by.";
    NOT_RECEIVED = "QS0633", "A filter asks for a type of message that no receive port takes.",
        "Correct the type, or name that message in `message` of a receive port.";
    TEMPLATE = "QS0634", "A template cannot be read.",
        "Write property names in braces, as in `{OrderId}-{msg.id}.xml`; `{{` and `}}` stand for braces.";
    OUT_OF_REACH = "QS0635", "A property is named that messages which come there do not have.",
        "Promote it in every message that comes there, or narrow the filter.";
    SECRET_FILE = "QS0636", "A secret cannot be read on this machine.",
        "Put it as a file of this name, mode 0600, into the secrets folder of the node.";
    PEM_FILE = "QS0637", "A certificate or key cannot be used on this machine.",
        "Give PEM files that are there: a certificate chain, and its own unencrypted private key.";
    SAME_FILES = "QS0638", "Two receive locations take the same files.",
        "Give each its own folder or pattern: as it is, a file goes to the one that sees it first.";
    NO_PORT = "QS0639", "An application has no port, so that it does nothing.",
        "Add `[receive.NAME]` with a location, and `[send.NAME]` with a filter and a transport.";
    SAME_QUEUE = "QS0640", "Two receive locations take from one queue.",
        "Name the queue once. The machine of a name of MSMQ is not part of the queue's: two machines need two names, or two virtual hosts in `url`.";
    ROUND = "QS0641", "A send port puts messages into the queue that they are taken from.",
        "Name another queue, or narrow the filter. The machine of a name of MSMQ is not part of the queue's: two machines need two names, or two virtual hosts in `url`.";
    PLACEMENT = "QS0642", "A clustered host cannot be placed as its policies say.",
        "Name members of the host in `preferred`, and in `with` another clustered host that shares its members.";
    ALONE = "QS0643", "A clustered host has one member, so that no other node can take it over.",
        "Add the nodes that may take over to `members`, or leave `clustered` out.";
    HEARTBEAT = "QS0644", "A clustered host would wait too long for the queue of an owner that is paused.",
        "Give a `heartbeat` of 5s or less, or say in `takeover` how the old owner's connections are closed: by itself a broker notices a paused one only after about three heartbeats.";
    APART = "QS0645", "The members of a clustered host do not share a store.",
        "Name the same PostgreSQL database in `[store] url` of each of them: as it is, each runs the host by itself.";
    MAP_PROGRAM = "QS0660", "The program that runs a map is not on this machine.",
        "Install it where the map is used (`apt-get install xsltproc`), or name another one in `[maps] xslt` of node.toml.";
    UNKNOWN_MAP = "QS0661", "A port names a map that the application does not define.",
        "Add `[map.NAME]`, or correct the name.";
    PORT_MAP = "QS0662", "A map cannot be applied at a port.",
        "Name maps that are made `from` one message with a `type`, each of another one, and that need no parameters.";
}
