//! The error codes of orchestrations, `QS13nn`: of definitions below 30, of instances from 30 on.

quayside_model::codes! {
    YAML = "QS1301", "The file of an orchestration is not the YAML that it has to be.",
        "Write one document of plain maps, lists and values, indented by spaces and not by tabs, without anchors, tags and references.";
    UNKNOWN_KEY = "QS1302", "A key is not known here.",
        "Correct or remove the key; the message names the nearest one.";
    UNKNOWN_STEP = "QS1303", "There is no step of this kind.",
        "Use one of receive, transform, assign, send, call, worker, start, decide, parallel, each, loop, delay, listen, scope, compensate, raise, suspend and terminate.";
    MISSING_KEY = "QS1304", "A required key is missing.",
        "Add the key that the message names.";
    FORM = "QS1305", "A value does not have the form that belongs here.",
        "Write it in the form that the message names.";
    DUPLICATE = "QS1306", "A name is given twice.",
        "Give each thing a name of its own.";
    UNKNOWN_NAME = "QS1307", "The orchestration has nothing of this name.",
        "Correct the name, or declare it under `messages`, `variables` or `correlations`.";
    EXPRESSION = "QS1308", "An expression cannot be read.",
        "Write an expression of the Common Expression Language; text in it stands in single quotes.";
    TYPE = "QS1309", "A value is of the wrong kind for its place.",
        "Convert it with `string()`, `int()` or `double()`, or use a value of that kind: a list is written `[a, b]`, or read from a document with `items`.";
    NO_MESSAGE = "QS1310", "The application has no message of this name.",
        "Declare it as `[message.NAME]` in app.toml, or correct the name.";
    NO_MAP = "QS1311", "The application has no map of this name, or it does not fit the messages.",
        "Declare it as `[map.NAME]` in app.toml, or correct the name.";
    NO_PORT = "QS1312", "The application has no send port of this name, or it is of the wrong direction.",
        "Declare it as `[send.NAME]` in app.toml, or correct the name; `call` needs one that gives answers.";
    NO_ORCHESTRATION = "QS1313", "The application has no orchestration of this name, or it does not begin with such a message.",
        "Add the file NAME.orchestration.yaml, or correct the name; give it a message that its first `receive` takes.";
    NO_WORKER = "QS1314", "The application has no worker of this name.",
        "Declare it as `[worker.NAME]` in app.toml, or correct the name.";
    NOT_ACTIVATED = "QS1315", "The orchestration can never start, or a receive that activates comes too late.",
        "Let the first step be a `receive` with `activate: true`, or a `listen` or `parallel` whose branches begin with one.";
    NOT_INITIALISED = "QS1316", "A correlation is followed before it has its values.",
        "Initialise it with an earlier receive or send that always comes before.";
    UNREACHABLE = "QS1317", "A step can never be reached.",
        "Remove it, or put it before the step that ends this path.";
    ATOMIC = "QS1318", "An atomic scope has a step that cannot be in one.",
        "Move what waits, calls, suspends or handles errors out of it: an atomic scope ends in one commit or did nothing.";
    UNASSIGNED = "QS1319", "A message is used before there is one.",
        "Receive or build it with an earlier step that always comes before.";
    TOO_LARGE = "QS1320", "The definition is larger or nested deeper than the limit.",
        "Move a part of it into an orchestration of its own and `start` that.";
    MISPLACED = "QS1321", "A step cannot stand here.",
        "Use `compensate` in `on_error` or `compensate` of a scope only, and `error` in expressions of `on_error` only.";
    EVALUATION = "QS1330", "An expression could not be evaluated.",
        "Correct the data or the definition; then resume, or terminate the instance.";
    COST = "QS1331", "An expression would cost more than the limit.",
        "Work on shorter lists, or nest fewer `map`, `filter`, `all` and `exists`.";
    RUNAWAY = "QS1332", "The instance ran very many steps without an end or a point at which it is kept.",
        "Look for a loop whose condition never changes. Where so many are meant, put a `scope` with a `timeout` around the steps of the loop: it is kept after each round. Resuming gives it the same number of steps again.";
    STATE_TOO_LARGE = "QS1333", "The state of the instance is larger than the limit.",
        "Keep documents in messages and not in variables; split long lists with `start`.";
    VALUE_TOO_LARGE = "QS1334", "A value is longer than a variable or property can be.",
        "Leave it in the document, and keep a shorter value: 8 KiB of text and 10,000 elements are the most.";
    MAP = "QS1335", "A map failed.",
        "Correct the document or the map that the message names; then resume.";
    DOCUMENT = "QS1336", "A document could not be read at a path.",
        "Correct the document or the path; then resume.";
    TIMEOUT = "QS1337", "A scope did not end within its time-out.",
        "Look at what it waited for; resuming goes on without a time-out.";
    DELIVERY = "QS1338", "A message that was sent could not be delivered.",
        "Repair what the send port reports; then retry the step.";
    CALL = "QS1339", "A call was refused or failed.",
        "Repair what the partner reports; then retry the step.";
    WORKER = "QS1340", "A worker failed or was lost.",
        "Look at the worker's own log; then retry the step.";
    RAISED = "QS1341", "The orchestration raised an error that nothing in it handles.",
        "Act on the message, then retry the step or terminate the instance.";
    PAUSED = "QS1342", "The orchestration suspended itself.",
        "Act on the message, then resume: it goes on with the next step.";
    NO_VALUE = "QS1343", "A message lacks a property that a correlation needs.",
        "Promote it as `required`, so that no such message is accepted.";
    OPERATOR = "QS1344", "The instance was suspended by an operator.",
        "Resume it: it goes on where it stopped.";
    STATE = "QS1345", "The state of an instance does not belong to this definition or program.",
        "Run the program version and the definition that the instance was started with.";
    DISCARDED = "QS1346", "The instance ended without consuming all of its messages.",
        "Look at the messages; send again what still matters.";
    TOO_MANY = "QS1347", "An atomic scope does more than fits into one commit.",
        "Make the scope smaller.";
    NOT_RETRYABLE = "QS1348", "The step cannot be run again as it stands.",
        "See where the instance is with `quayside orchestrations show`, and order again what still matters.";
}
