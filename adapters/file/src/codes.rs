//! The error codes of the file adapter, `QS05nn`.

quayside_adapter_api::model::codes! {
    FOLDER_MISSING = "QS0501", "The folder does not exist or is no folder.",
        "Create the folder or correct the setting; a send port creates it itself with `create = true`.";
    FOLDER_DENIED = "QS0502", "The folder may not be read or written.",
        "Give the gateway's user the right to read, write and search the folder.";
    DISK_FULL = "QS0503", "The disk of the folder, or the quota on it, is full.",
        "Free space; the message is tried again by itself.";
    IO = "QS0504", "The file system failed.",
        "Look into the message and the system log of the machine; the work is tried again by itself.";
    FILE_UNREADABLE = "QS0505", "A file cannot be taken or read.",
        "Give the gateway's user the right to read it; it is taken when it has changed.";
    FILE_CHANGED = "QS0506", "A file changed while it was read.",
        "Let writers write aside and rename, or make `stable_for` longer; the file is taken again by itself.";
    FILE_TOO_LARGE = "QS0507", "A file is larger than `max_size`.",
        "The file is in `.rejected` of its folder: raise `max_size` and move it back, or have it sent in parts.";
    FILE_REFUSED = "QS0508", "A file was refused for good.",
        "The file is in `.rejected` of its folder; correct it and move it back.";
    NAME_REFUSED = "QS0509", "A file name is not allowed.",
        "Correct the template or the property that it takes the name from; a received file has to be renamed.";
    TARGET_EXISTS = "QS0510", "A file of this name exists already, with other content.",
        "Make the names differ, with `{msg.id}` in `file_name`, or choose another `overwrite`.";
    NOT_TRUSTED = "QS0511", "This process was paused for so long that it may not act any more.",
        "Nothing: another attempt is made by a process that may.";
    CLOSED = "QS0512", "The location is closed.",
        "Nothing: the host stops or the configuration changed.";
    BAD_PATTERN = "QS0513", "The pattern can match no file.",
        "Give a pattern for names without `/` that does not begin with a dot, such as `*.xml`.";
    UNSAFE_OVERWRITE = "QS0514", "Files would silently replace files of other messages.",
        "Put `{msg.id}` into `file_name`, or state with `replaces = true` that the newest one is to win.";
    BAD_SETTING = "QS0515", "A setting of a folder has a value that cannot work.",
        "Give a value that the message names.";
    OTHER_FILE_SYSTEM = "QS0516", "The archive folder is not on the file system of the folder.",
        "Choose an archive folder on the same file system: a file is archived by one rename.";
    OWNER_LOST = "QS0518", "This process was taken for dead, and its files for left behind.",
        "Nothing: the location opens anew. If it happens often, look why the process stands still.";
    MARK_UNREADABLE = "QS0517", "A mark in the store about a taken file cannot be read.",
        "Look for a `.taken-` file of its id; its message is stored, so the file can be removed by hand.";
}
