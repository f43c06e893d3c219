//! The statements: one file each, prepared once per connection.

macro_rules! statements {
    ($($variant:ident $file:literal)+) => {
        /// One statement of `sql/`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Sql { $($variant),+ }

        impl Sql {
            /// All of them, in the order of their numbers.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant),+];

            /// The text, comments included: they are found again in the database's log.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => include_str!(concat!("../sql/", $file, ".sql"))),+
                }
            }

            /// The name, which is that of the file.
            #[cfg(test)]
            const fn name(self) -> &'static str {
                match self { $(Self::$variant => $file),+ }
            }
        }
    };
}

statements! {
    BodyAbandon "body_abandon"
    BodyDelete "body_delete"
    BodyOpen "body_open"
    BodyOrphans "body_orphans"
    BodySeal "body_seal"
    ChunkDelete "chunk_delete"
    ChunkRead "chunk_read"
    ChunkWrite "chunk_write"
    ClusterOpen "cluster_open"
    ClusterRenew "cluster_renew"
    ClusterReplicas "cluster_replicas"
    ClusterSessions "cluster_sessions"
    ClusterWho "cluster_who"
    CommitPlain "commit_plain"
    ConfigApply "config_apply"
    ControlList "control_list"
    ControlSet "control_set"
    DayAdd "day_add"
    DayDrop "day_drop"
    DedupeDelete "dedupe_delete"
    DedupeFind "dedupe_find"
    DedupeInsert "dedupe_insert"
    DedupeRetract "dedupe_retract"
    DefinitionBound "definition_bound"
    DefinitionDelete "definition_delete"
    DefinitionGet "definition_get"
    DefinitionKeep "definition_keep"
    DeliveryBacklog "delivery_backlog"
    DeliveryBorn "delivery_born"
    DeliveryClaim "delivery_claim"
    DeliveryClaimDeadly "delivery_claim_deadly"
    DeliveryClaimOrdered "delivery_claim_ordered"
    DeliveryClaimsOf "delivery_claims_of"
    DeliveryDoubts "delivery_doubts"
    DeliveryEnd "delivery_end"
    DeliveryGiveback "delivery_giveback"
    DeliveryList "delivery_list"
    DeliveryListMessage "delivery_list_message"
    DeliveryPreceded "delivery_preceded"
    DeliveryReleaseDead "delivery_release_dead"
    DeliveryResume "delivery_resume"
    DeliveryRetry "delivery_retry"
    DeliverySending "delivery_sending"
    DeliverySettled "delivery_settled"
    DeliverySuspend "delivery_suspend"
    DeliveryTerminate "delivery_terminate"
    Effects "effects"
    EventAdd "event_add"
    EventDelete "event_delete"
    EventList "event_list"
    ExchangeAnswer "exchange_answer"
    ExchangeAnswers "exchange_answers"
    ExchangeDelete "exchange_delete"
    ExchangeInsert "exchange_insert"
    FenceAdd "fence_add"
    FenceGet "fence_get"
    FenceList "fence_list"
    FenceLock "fence_lock"
    FenceRelease "fence_release"
    FenceTake "fence_take"
    GroupAnswer "group_answer"
    GroupAnswered "group_answered"
    GroupClear "group_clear"
    GroupControl "group_control"
    GroupFail "group_fail"
    GroupList "group_list"
    GroupMove "group_move"
    GroupOffer "group_offer"
    GroupRecover "group_recover"
    GroupRelease "group_release"
    GroupTake "group_take"
    HistoryInsert "history_insert"
    HistoryList "history_list"
    HistoryResubmitted "history_resubmitted"
    InstanceBreak "instance_break"
    InstanceCheck "instance_check"
    InstanceDelete "instance_delete"
    InstanceEnd "instance_end"
    InstanceList "instance_list"
    InstanceLive "instance_live"
    InstanceRegister "instance_register"
    InstanceStop "instance_stop"
    LaneHold "lane_hold"
    LaneInsert "lane_insert"
    LaneLock "lane_lock"
    LaneReady "lane_ready"
    LaneRelease "lane_release"
    LaneTake "lane_take"
    LanesFix "lanes_fix"
    LanesInsert "lanes_insert"
    LanesLock "lanes_lock"
    LanesRead "lanes_read"
    LeaseRelease "lease_release"
    LeaseTake "lease_take"
    LineageCheck "lineage_check"
    MessageDelete "message_delete"
    MessageExisting "message_existing"
    MessageGet "message_get"
    MessageInsert "message_insert"
    MessageList "message_list"
    MessageListLive "message_list_live"
    MessageWay "message_way"
    MoveDelete "move_delete"
    MoveList "move_list"
    NodeAdd "node_add"
    NodeClear "node_clear"
    NodeDrain "node_drain"
    NodeList "node_list"
    OrderAdvance "order_advance"
    OrderBusy "order_busy"
    OrderKeys "order_keys"
    OrderNext "order_next"
    OwnerEnd "owner_end"
    PartDelete "part_delete"
    PartGet "part_get"
    ReportList "report_list"
    ReportWrite "report_write"
    RestoredDoubt "restored_doubt"
    RestoredDoubts "restored_doubts"
    RestoredEnd "restored_end"
    RestoredEpochs "restored_epochs"
    RestoredLineage "restored_lineage"
    RestoredSessions "restored_sessions"
    RunAsked "run_asked"
    RunClaim "run_claim"
    RunClaimDeadly "run_claim_deadly"
    RunConsume "run_consume"
    RunCreate "run_create"
    RunCreateAgain "run_create_again"
    RunDelete "run_delete"
    RunDiscard "run_discard"
    RunEnter "run_enter"
    RunEnterBorn "run_enter_born"
    RunExchanges "run_exchanges"
    RunExchangesEnd "run_exchanges_end"
    RunGet "run_get"
    RunInbox "run_inbox"
    RunInboxBehind "run_inbox_behind"
    RunKeep "run_keep"
    RunKept "run_kept"
    RunKeyList "run_key_list"
    RunKeys "run_keys"
    RunKeysEnd "run_keys_end"
    RunList "run_list"
    RunLive "run_live"
    RunOrder "run_order"
    RunRelease "run_release"
    RunReleaseDead "run_release_dead"
    RunStep "run_step"
    RunWake "run_wake"
    SchemaGet "schema_get"
    SessionClose "session_close"
    SessionDelete "session_delete"
    SessionExpire "session_expire"
    SessionList "session_list"
    SessionOpen "session_open"
    SessionRenew "session_renew"
    SourceDelete "source_delete"
    SourceInsert "source_insert"
    SourceList "source_list"
    StoreProbe "store_probe"
    WorkAnswer "work_answer"
    WorkAnswered "work_answered"
    WorkRenew "work_renew"
    WorkUntil "work_until"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_one_statement_that_begins_with_its_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql");
        let files = std::fs::read_dir(folder)
            .expect("the folder is there")
            .count();
        assert_eq!(files, Sql::ALL.len(), "a file is not in the list");
        for sql in Sql::ALL {
            let text = sql.text();
            assert!(
                text.starts_with(&format!("-- {}", sql.name())),
                "{}",
                sql.name()
            );
            assert!(
                !text.contains(';') || text.lines().all(|l| !l.trim_end().ends_with(';')),
                "{}",
                sql.name()
            );
        }
    }
}
