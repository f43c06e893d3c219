//! The error codes of the engine, `QS08nn`.

quayside_model::codes! {
    NO_SUBSCRIBER = "QS0801", "Nobody subscribes to the message.",
        "Enlist a send port whose filter fits (`quayside ports list`), or set `unrouted = \"suspend\"` to keep such messages.";
    KEY_REUSED = "QS0802", "The dedupe key stood for another message within its window.",
        "Send the message under a new key, or send again exactly what was sent first.";
    STORE_UNAVAILABLE = "QS0803", "The gateway cannot store anything now.",
        "Send it again after the time that the answer names; for the operator: look at the store.";
    OVERLOADED = "QS0804", "The gateway has more work than it may hold.",
        "Send it again after the time that the answer names.";
    NO_ANSWER = "QS0805", "No subscriber answered in time.",
        "Ask again with the same key: the request goes on, and its answer is kept.";
    STOPPING = "QS0806", "The host is stopping.",
        "Send it again: another host instance or the restarted one takes it.";
    TEMPLATE = "QS0807", "A template of the port names a property that the message does not have.",
        "Promote the property (`required = true`), or name another one in the template; then resume the delivery.";
    IN_DOUBT = "QS0808", "The delivery may have been sent by an owner that died, and the port holds such deliveries.",
        "Ask the partner whether it has the message, then say so: `quayside cluster in-doubt done`, `resend` or `skip` with the id of the delivery.";
    ATTEMPTS_SPENT = "QS0809", "Every attempt failed.",
        "Repair what the last failure names, then resume the delivery.";
    NOT_TRUSTED = "QS0810", "The process was paused or cut off beyond its lease and may not act.",
        "Nothing: it asks the store, and goes on or is replaced.";
    SESSION_LOST = "QS0811", "The session of this process was ended by another node.",
        "Nothing: the process takes a new instance; look for pauses of the machine or of the network.";
    NO_ADAPTER = "QS0812", "There is no adapter of this name.",
        "Correct the key of the adapter in the configuration.";
    NO_PORT = "QS0813", "There is no port or location of this name here.",
        "List the names with `quayside ports list`.";
    ADAPTER_PANICKED = "QS0814", "An adapter panicked while it sent, or asked whether its system answers.",
        "Report it with the log line; the delivery is tried again by its schedule.";
    REFUSED = "QS0815", "The store refused the message.",
        "Report it with the log line: the gateway should not have built it.";
    LOCATION_STOPPED = "QS0816", "A receive location failed too often in a row and was disabled here.",
        "Repair what the last failure names, then `quayside ports start NAME`.";
    NOT_FOUND = "QS0817", "There is no such message.",
        "Look at `quayside messages list`; retention may have removed it.";
    ATTEMPT_TIMEOUT = "QS0818", "An attempt did not end within the port's `attempt_timeout`.",
        "Look at the partner: the delivery may have been sent. Where such sends are right, raise `attempt_timeout`.";
    LANES_KEPT = "QS0819", "The number of lanes of an ordered port was changed while it may have work; the old one stays.",
        "Let its deliveries end, stop every process that uses the store, and start them again; or set `lanes` back.";
    NOT_ANSWERED = "QS0820", "The request is stored, but the subscriber that answers it has failed.",
        "For the operator: look at the message, repair what its failure names, and resume the delivery; then the same key brings the answer. Of a message that has ended nothing is left to resume: ask again under another key.";
    PARTNER_LOST = "QS0821", "The system behind an adapter of a clustered host cannot be reached from this node.",
        "Look at `quayside cluster status`: if another node reaches it the host moves there, and this node needs a look; else look at the system itself.";
    PARTNERS_MANY = "QS0822", "A clustered host works with more systems than are watched.",
        "Divide its ports among several hosts; those that are not watched do not make it move.";
    NO_INSTANCE = "QS0824", "No orchestration instance waits for the message, and it starts none.",
        "Look at `quayside orchestrations list`: its instance may have ended, or have other values. Resume the delivery when there is one, or terminate it.";
    KEY_TAKEN = "QS0825", "Another orchestration instance has the same values of a correlation.",
        "Let the other instance end, then resume this one; or correlate by values that tell them apart.";
    NO_REPLY = "QS0826", "A partner that an orchestration asked has not given the answer that was wanted.",
        "Look at the message that was sent, and at the partner; the error `call` can be handled in the orchestration.";
    DEFINITION_LOST = "QS0827", "The definition of an orchestration instance cannot be used by this program.",
        "Run the program that started the instance until it has ended, or terminate the instance.";
    ORCHESTRATION_LIVES = "QS0828", "An orchestration was removed while instances of it are not over.",
        "Put its file back and start: its instances go on, and end or can be terminated (`quayside orchestrations list`). Then remove it.";
    ANSWER_TOO_LARGE = "QS0829", "The answer of an orchestration is too large.",
        "Answer with a smaller document, and send the large one to a port.";
    INBOX_FULL = "QS0830", "An orchestration instance does not take the messages that lie before the one that it may wait for.",
        "Look at what it waits for and at its inbox (`quayside orchestrations show`): when what it waits for comes first it can be resumed, else terminate it and send what it had again; correct the definition for those that follow.";
    BATCH_TOO_LARGE = "QS0831", "A batch is too large to go into one commit.",
        "Set `batch = \"per-message\"` in the split of the receive port, or send several smaller batches.";
    RECORD_REFUSED = "QS0832", "The store refused a record of a batch.",
        "Report it with the log line: the gateway should not have built it.";
    PARTY_UNKNOWN = "QS0833", "The sender of a message is none of the parties of the application.",
        "Add the certificate or the name that it came with to its `[party.NAME]`, or let it come with another one; `party = \"optional\"` takes messages of anybody.";
    STEP_TOO_LARGE = "QS0834", "A step of an orchestration sends more than goes into one transaction.",
        "Send smaller documents, or fewer of them between two points at which the instance is kept: outside of an atomic scope, or by orchestrations that it starts.";
    DEADLY = "QS0835", "Each process that worked on a message or an orchestration instance died over it.",
        "Look at the logs of the processes that ended, and at their memory: it may be what ends them, or have been near it. Correct that, then resume it, or terminate it.";
    LEFT_TO_OTHERS = "QS0836", "The definition of orchestration instances is newer than the configuration of this process, and names what it does not know.",
        "Reload the applications of this process (SIGHUP, or `systemctl reload`): until then other processes work on them.";
    FORMER_LEFT = "QS0823", "The connections of the former owner of a clustered host could not be closed at once.",
        "Look whether the management API in `takeover` answers and lets its user in; it is tried again, and until then the broker may keep messages for the former owner.";
    OUTSIDE_START = "QS0840", "The program that runs a map could not be started on this machine.",
        "Install it (`apt-get install xsltproc`), or name another one in `[maps]` of node.toml; then resume what has failed.";
    OUTSIDE_TIME = "QS0841", "A map took longer on a document than it may, and its process was ended.",
        "Look at the document and at the map: it may never end. Where it is only slow, raise `[maps] timeout` in node.toml.";
    OUTSIDE_MEMORY = "QS0842", "A map wanted more memory for a document than it may have.",
        "Send a smaller document, or raise `[maps] memory` in node.toml.";
    OUTSIDE_OUTPUT = "QS0843", "A map made a larger document than it may, and its process was ended.",
        "Look at the document and at the map. At ports `[maps] max_output` in node.toml is the most; in an orchestration it is 256 KiB.";
    OUTSIDE_FAILED = "QS0844", "The program that runs a map ended with an error.",
        "Correct the document or the map: the cause has what the program says.";
    OUTSIDE_PARAMETER = "QS0845", "A map in a process of its own was given a parameter that it does not take.",
        "Give only parameters that the map declares, each a single value; the command in `[maps]` of node.toml must have a place for them.";
    OUTSIDE_BUSY = "QS0846", "All processes for maps were busy for too long.",
        "Send it again later; look for a map that hangs, or raise `[maps] processes` in node.toml.";
    OUTSIDE_UNTRIED = "QS0847", "A trial came to a map that runs in a process of its own, which it does not start.",
        "Give the case the message that the map would make, or try the map by a run of the application.";
}
