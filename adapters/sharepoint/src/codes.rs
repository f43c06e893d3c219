//! The error codes of the SharePoint adapter, `QS11nn`.

quayside_adapter_api::model::codes! {
    BAD_SETTING = "QS1101", "A setting of a document library has a value that cannot work.",
        "Give a value that the message names.";
    BAD_NAME_TEMPLATE = "QS1102", "The template of a document's name cannot be used.",
        "Use text, `{property}`, `%MessageID%`, `%Filename%` and `%Extension%`; promote what an XPath finds.";
    UNSAFE_OVERWRITE = "QS1103", "Documents would silently replace documents of other messages.",
        "Put `{msg.id}` into `file_name`, or state with `replaces = true` that the newest one is to win.";
    NOT_REACHED = "QS1110", "The farm cannot be reached.",
        "Check `site`, name resolution, the network, certificates and the farm; it is tried again.";
    OUTCOME_UNKNOWN = "QS1111", "The connection broke before the farm answered.",
        "Nothing: the next attempt looks what became of the document. Look at the farm if it happens often.";
    THROTTLED = "QS1112", "The farm asks to slow down.",
        "Nothing: it is tried again when the farm said. Lower the windows of ports or ask for a higher quota if it stays.";
    FARM_BUSY = "QS1113", "The farm failed or is too busy.",
        "It is tried again; look at the farm if it stays.";
    BAD_ANSWER = "QS1114", "The farm's answer cannot be understood.",
        "Check that `site` is the address of a SharePoint site and that nothing between changes answers.";
    NO_TOKEN = "QS1115", "No access token was given.",
        "Check `auth` and what gives the tokens; the message has its answer.";
    BAD_CREDENTIAL = "QS1116", "A certificate, key or secret cannot be used.",
        "Correct the PEM files or secrets that the message names.";
    LOGIN_REFUSED = "QS1117", "The farm refused the credential.",
        "Correct `auth`; the account or app must be known to the farm.";
    DENIED = "QS1118", "The account may not do this in the library.",
        "Give the account or app the right to contribute to the site or library.";
    LIBRARY_MISSING = "QS1119", "The site, library, folder or view does not exist.",
        "Correct `site`, `library`, `folder` or `view`; the message has the farm's words.";
    NAME_REFUSED = "QS1120", "The name or path of a document is not allowed.",
        "Correct the template or the property that it takes the name from, then resume the message.";
    TARGET_EXISTS = "QS1121", "A document of this name exists already, with other content.",
        "Make the names differ, with `{msg.id}` in `file_name`, or choose another `overwrite`.";
    BAD_COLUMN = "QS1122", "A column is missing in the library or does not take the value.",
        "Correct the internal name or `type` of the column, or the value; then resume the message.";
    DUPLICATE_VALUE = "QS1123", "Another document has the value of a column of unique values.",
        "If it is not this message's own document, correct the value; then resume the message.";
    LOCKED = "QS1124", "Somebody has the document open or checked out.",
        "It is tried again; ask who the message names to close it or check it in.";
    CONFLICT = "QS1125", "The document was changed by somebody else at the same time.",
        "Nothing: it is tried again.";
    THRESHOLD = "QS1126", "The library has too many documents for this query.",
        "Index the columns of the view's query, or move documents elsewhere.";
    REFUSED = "QS1127", "The farm refused the call.",
        "Read the farm's words in the message; correct the message or the port and resume.";
    NOT_TRUSTED = "QS1128", "This process was paused for so long that it may not act any more.",
        "Nothing: another attempt is made by a process that may.";
    BODY_UNREADABLE = "QS1129", "The message's content could not be read while it was sent.",
        "It is sent again; check the message store if this stays.";
    DOCUMENT_CHANGED = "QS1130", "A document changed while it was read.",
        "Nothing: it is read again.";
    DOCUMENT_TOO_LARGE = "QS1131", "A document is larger than `max_size`.",
        "It stays in the library: raise `max_size`, or take it away.";
    DOCUMENT_REFUSED = "QS1132", "A document was refused for good.",
        "It stays in the library and is taken again when it has changed or the location is opened anew.";
    NOT_SETTLED = "QS1133", "A document whose message is stored could not be archived or deleted.",
        "Nothing: it is tried again, and its message is not stored twice. Do what the message says if it stays.";
    MARK_UNREADABLE = "QS1134", "A mark in the store about a document cannot be read.",
        "Its message is stored: archive the document by hand.";
    STRANDED = "QS1135", "A document that a dead process had checked out could not be freed.",
        "It is tried again; check it in by hand if it stays.";
    CLOSED = "QS1136", "The location is closed.",
        "Nothing: the host stops or the configuration changed.";
}
