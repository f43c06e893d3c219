//! The error codes of the store, `QS01nn`.

quayside_model::codes! {
    UNAVAILABLE = "QS0101", "The store cannot be reached or does not take writes.",
        "Check that the database runs and that its address and credentials are right; work goes on by itself when it is back.";
    UNKNOWN_COMMIT = "QS0102", "The connection to the store broke during a commit.",
        "Nothing: the same batch is run again until its outcome is known.";
    CONTENDED = "QS0103", "A transaction lost against another one.",
        "Nothing: it is run again.";
    FULL = "QS0104", "The store has no space left.",
        "Free space on the disk of the store; work goes on by itself.";
    DATA = "QS0105", "The store refused a value.",
        "Report it with the log line: the gateway should not have built that value.";
    CORRUPT = "QS0106", "A row of the store cannot be read.",
        "Restore the row or the store from a backup; the log line names table, column and row.";
    SCHEMA = "QS0107", "The schema of the store is of a version that this program does not know.",
        "Run `quayside store migrate` with the newest program, or start the program that fits the store.";
    OCCUPIED = "QS0108", "Another process has the embedded store open.",
        "Stop the process that the message names, or use PostgreSQL for several processes.";
    CONFIG = "QS0109", "The store cannot be used as configured.",
        "Correct the `[store]` section; the message names the setting.";
    COPIED = "QS0110", "The store was restored or copied, and nobody has said so.",
        "With all processes and agents stopped run `quayside store restored` once; after a planned move, where all were stopped before the dump, with `--nothing-sent`.";
    UNANSWERED = "QS0111", "A message that an orchestration waited for was ended without an answer.",
        "Look at the message: an operator has ended its delivery, or it was published as a failed message; the orchestration sees an error.";
}
