//! The suite that every store passes: one `async fn` per case, by noun.
//!
//! A store's crate runs it from its own `tests/conformance.rs`:
//!
//! ```ignore
//! async fn fresh() -> impl quayside_conformance::Backend { ... }   // an empty store of its own
//! quayside_conformance::store_conformance!(fresh);
//! ```
//!
//! The macro makes one `#[tokio::test]` per case, so that a failure names it; the crate needs `tokio`
//! with `macros` and `rt-multi-thread` among its dev-dependencies. Cases use the contract only, never a
//! dialect, and never sleep: time passes through [`Backend::pass`]. A case that is about hours returns at
//! once where [`Backend::virtual_time`] is `false`.

use std::time::Duration;

use async_trait::async_trait;
use quayside_store::{
    AnyStore,
    model::{Clock as _, SystemClock, Timestamp},
};

pub mod bodies;
pub mod browse;
pub mod claims;
pub mod cluster;
pub mod controls;
pub mod deaths;
pub mod dedupe;
pub mod exchange;
pub mod group;
pub mod lanes;
pub mod maintain;
pub mod operate;
pub mod orchestrated;
pub mod order;
pub mod orders;
pub mod publish;
pub mod restored;
pub mod runs;
pub mod scene;
pub mod sessions;
pub mod settle;
pub mod sources;
pub mod works;

pub use scene::Scene;

/// An empty store with all that keeps it alive: a temporary folder, a database, a clock. Unless it says
/// otherwise its clock is that of the machine, so that time really passes.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The store. Every call gives the same one.
    fn store(&self) -> AnyStore;

    /// The store's clock, near enough to make ids with.
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    /// Lets at least `time` pass on the store's clock. The one place where a suite may really wait.
    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// Whether [`Backend::pass`] moves a clock instead of waiting, so that days pass at once.
    fn virtual_time(&self) -> bool {
        false
    }

    /// A time that is long for the store and short for the suite: an hour of virtual time, some
    /// hundredths of a second of real time.
    fn moment(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// Lets everybody's lease run out and releases the store as one that was restored from a backup of this moment.
    /// How many deliveries are in doubt then.
    async fn restored(&self) -> u64 {
        panic!("this backend runs no suite")
    }
}

/// Runs the suite of stores that several nodes share: `cluster_conformance!(fresh)`, as
/// [`store_conformance!`].
#[macro_export]
macro_rules! cluster_conformance {
    ($fresh:ident) => {
        $crate::store_conformance! { @nouns $fresh;
            cluster {
                of_many_that_take_one_wins
                a_repeated_grant_meets_itself
                the_dead_own_nothing
                a_renewal_says_who_answered
                a_report_dies_with_its_node
                only_agents_speak_for_their_nodes
                a_take_ends_an_offer
                orders_are_numbered_and_answered
                the_words_of_operators_stand
                a_clear_forgets_failures_and_moves
                lost_sessions_count_until_they_are_cleared
                changes_of_state_are_recorded
                a_change_wakes_who_waits
            }
            lanes {
                a_host_that_is_given_back_brings_its_lanes
            }
            orders {
                who_said_it_is_recorded
                a_drill_is_an_order_that_costs_no_move
                a_takeover_is_measured
            }
        }
    };
}

/// Runs the suite: `store_conformance!(fresh)`, where `async fn fresh() -> impl Backend`.
#[macro_export]
macro_rules! store_conformance {
    ($fresh:ident) => {
        $crate::store_conformance! { @nouns $fresh;
            publish {
                stores_what_load_gives_back
                all_or_none_of_the_fan_out
                a_dead_instance_is_fenced
                the_same_batch_again_is_stored_once
                a_bad_item_leaves_the_others
                births_decide_who_gets_it
            }
            dedupe {
                a_repeat_gets_the_first_answer
                another_request_under_the_key_is_a_mismatch
                of_many_at_once_one_is_stored
                a_refused_item_takes_no_key
                a_key_holds_for_its_window
            }
            claims {
                each_goes_to_one_of_many_claimers
                a_claim_keeps_to_the_room
                urgent_ones_go_first
                an_old_token_is_fenced
                the_claims_of_the_dead_are_released
                only_a_marked_claim_of_the_dead_is_in_doubt
            }
            settle {
                an_end_is_one_event
                the_same_batch_again_is_done_once
                a_retry_is_due_after_its_wait
                a_doubt_stays_with_the_delivery
                a_release_changes_nothing
                another_holder_is_fenced
            }
            group {
                what_belongs_together_happens_together
                a_fenced_member_undoes_the_group
                a_refused_member_undoes_the_group
                a_repeat_is_fine
                the_group_of_a_dead_instance_is_fenced
            }
            order {
                each_key_comes_in_order
                a_batch_keeps_its_order
                one_in_hand_holds_its_key
                a_retry_holds_its_key
                a_suspended_head_keeps_its_place
                one_that_waits_names_its_head
                a_terminated_head_frees_its_key
                a_skipped_one_loses_its_place
                given_back_ones_come_in_order
                a_long_queue_comes_back_in_order
                a_long_queue_keeps_no_other_from_its_turn
                the_end_of_a_head_brings_the_next
                the_end_of_a_head_brings_a_run
                a_run_ends_before_what_is_not_free
                a_run_of_the_dead_comes_in_order
                a_hand_off_never_overtakes
                a_lane_has_one_owner
                a_lane_is_given_up_when_nothing_of_it_is_in_hand
                the_count_of_lanes_stays_while_it_is_in_use
                one_suspended_at_birth_holds_its_key
            }
            exchange {
                the_first_answer_counts
                a_request_is_kept_for_its_time
            }
            operate {
                resume_brings_a_suspended_one_back
                resume_hastens_and_settles_doubts
                terminate_ends_what_nobody_holds
                a_published_failure_is_a_failure
                failures_are_told_but_do_not_fill_history
                a_resubmission_is_told_at_its_source
                each_item_has_its_outcome
                what_is_suspended_for_good_is_not_resumed
                a_doubt_is_listed_and_decided
                a_suspension_may_be_in_doubt
            }
            sessions {
                a_session_ends_by_its_lease_and_an_observer
                an_instance_dies_with_its_session
                epochs_never_fall
            }
            bodies {
                a_sealed_body_is_read_in_chunks
                a_body_is_published_by_its_writer_only
                open_bodies_of_the_dead_go
                an_abandoned_body_goes
            }
            sources {
                marks_wait_until_they_are_settled
                a_repeat_leaves_no_mark
                a_lease_has_one_live_owner
            }
            controls {
                the_last_word_counts
                versions_of_the_configuration_rise
            }
            browse {
                messages_come_in_pages
                messages_are_filtered
                deliveries_are_filtered_and_paged
                the_backlog_is_counted_to_its_cap
                what_is_not_there_is_none
            }
            runs {
                a_run_begins_with_its_message_and_rests
                messages_enter_by_key_and_wake
                no_wake_is_lost
                a_stale_step_writes_nothing
                the_runs_of_the_dead_go_to_others
                what_a_run_has_ends_as_it_says
                a_run_keeps_its_messages_from_operators
                time_wakes_a_run
                a_key_has_one_run
                nobody_has_the_key
                an_end_discards_what_is_left
                many_runs_share_a_group
                what_a_run_keeps_stays_readable
            }
            deaths {
                deaths_over_a_delivery_are_counted
                deaths_over_a_run_are_counted
                what_kills_is_claimed_apart
                what_came_before_is_told
                runs_of_a_definition_are_left_to_others
                an_inbox_comes_in_pages
            }
            orchestrated {
                an_answer_wakes_who_asked
                what_becomes_of_a_question_is_told
                a_question_for_nobody_is_told
                a_question_asked_again_forgets_the_answer
                a_closed_exchange_is_over
                a_step_answers_a_request
                a_repeat_does_no_harm
                a_refused_publication_undoes_the_step
                an_order_wakes_a_suspended_run an_order_ends_the_hold
                runs_are_listed_and_counted
                definitions_stay_while_they_are_needed
            }
            works {
                a_lease_is_renewed
                a_lease_belongs_to_its_ticket
                the_first_answer_to_work_counts
                an_answer_stays_when_work_is_given_again
                work_that_was_delivered_goes_on
                work_ends_with_its_run
            }
            restored {
                what_was_open_is_in_doubt
                whoever_lived_is_dead_and_epochs_begin_anew
            }
            maintain {
                retention_runs_from_the_last_end
                what_lives_stays
                many_go_step_by_step
                chunks_go_with_their_message
                keys_go_after_their_window
                the_probe_answers
            }
        }
    };
    (@nouns $fresh:ident; $($noun:ident { $($case:ident)+ })+) => { $(
        mod $noun {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let backend = super::$fresh().await;
                    $crate::$noun::$case(&backend).await;
                }
            )+
        }
    )+ };
}
