//! The HTTP API against a real server: over real HTTP, with clients over real QUIC.
//!
//! | what it does | the test, by file and name |
//! |---|---|
//! | **Keys** | `auth` |
//! | every route asks for its scope | `every_operation_asks_for_a_key_with_its_scope`, `every_operation_refuses_who_has_no_key_or_a_wrong_one`, `the_scheme_is_bearer_in_any_case_and_stands_once` |
//! | keys are made, rotated and removed | `a_key_is_made_and_used_and_removed_at_once`, `a_rotation_keeps_the_secret_of_before_for_the_grace`, `the_last_master_key_stays`, `what_is_no_key_is_refused` |
//! | failures are limited, successes never | `failures_are_limited_and_a_valid_key_never_is` |
//! | keys are in no log | `operations`: `the_key_is_printed_once_and_is_in_no_log` |
//! | **Operations** | `operations` |
//! | live and ready | `the_port_is_open_and_not_ready_while_the_log_is_replayed`, `a_drain_is_told_and_takes_nothing_new` |
//! | metrics | `metrics`: `the_metrics_pass_the_rules_of_prometheus`, `open_metrics_are_served_to_whom_asks`, `what_happens_is_counted`, `the_dashboard_asks_for_figures_that_there_are` |
//! | figures | `the_stats_tell_what_is_so` |
//! | ids, TLS, both versions of HTTP | `a_request_has_an_id`, `http_2_and_tls_are_spoken`, `an_address_that_is_taken_is_named_and_so_is_a_certificate_of_no_use`, `a_client_that_says_nothing_holds_up_nobody` |
//! | **Peers** | `peers` |
//! | status of many peers | `the_status_of_many_peers_is_told_at_once`, `a_thousand_peers_may_be_asked_about_and_not_one_more`, `those_online_before_a_restart_count_as_online_for_the_grace` |
//! | sessions and devices of a peer | `a_peer_is_told_with_its_sessions_and_devices`, `a_device_is_told_with_the_alias_that_reaches_its_peer`, `a_peer_that_never_came_is_off_line_and_has_nothing` |
//! | unread (E5: single chats) | `unread_counts_single_chats_and_groups_for_themselves`, `all_that_is_unread_is_told_however_many_conversations_it_is_in` |
//! | kick, with a reason | `who_is_kicked_hears_why_and_may_come_back`, `the_reason_of_a_kick_has_200_bytes_and_not_one_more` |
//! | block and unblock | `who_is_blocked_hears_it_and_opens_nothing_until_it_is_not`, `those_blocked_are_listed_in_pages` |
//! | **Groups** | `groups` |
//! | create, read, list, delete | `a_group_is_made_and_read_as_it_was_made`, `a_group_with_nothing_said_is_empty_and_has_the_usual_rules`, `what_is_no_group_is_refused`, `all_groups_are_listed_in_pages`, `a_deleted_group_is_no_more_and_its_members_hear_it` |
//! | members, who are told | `members_are_told_who_comes_and_goes_though_the_back_end_did_it`, `a_group_has_a_thousand_members_and_not_one_more`, `the_back_end_may_do_what_members_may_not` |
//! | metadata and rules | `an_edit_changes_what_it_names_and_members_hear_of_it`, `metadata_is_kept_as_it_was_written_but_for_white_space`, `metadata_has_8_kib_and_not_one_byte_more` |
//! | ETag and If-Match | `an_edit_is_made_only_to_the_version_that_if_match_names`, `of_all_that_edit_one_version_at_once_one_does`, `rules_that_are_changed_at_once_do_not_undo_one_another` |
//! | open groups | `an_open_group_counts_the_sessions_that_are_in_it_now` |
//! | **History** | `history` |
//! | by conversation, with the id of AVOS (E5) | `a_conversation_is_read_by_the_id_that_avos_computes` |
//! | by group (E5) | `a_group_is_read_by_its_id` |
//! | by sender, in time order (E5) | `what_a_peer_has_sent_is_read_in_the_order_of_time` |
//! | the whole app, in time order (E5) | `the_whole_app_is_read_in_the_order_of_time` |
//! | what a message has; recalls | `a_message_is_told_with_all_that_it_has`, `a_message_that_was_recalled_has_no_body` |
//! | pages and ranges of time | `a_page_has_1_to_1000_messages_and_100_if_nothing_is_said`, `a_range_of_time_has_both_its_ends`, `nothing_is_lost_or_told_twice_while_messages_are_being_sent`, `what_is_no_choice_is_refused` |
//! | export | `an_export_has_what_all_pages_have_and_an_end`, `a_long_export_is_whole_and_goes_no_faster_than_it_is_taken` |
//! | **Problems and the document** | `openapi` |
//! | problem details | `whatever_goes_wrong_is_a_problem`, `every_problem_is_listed` |
//! | OpenAPI | `the_document_is_whole`, `bodies_of_the_document_take_no_unknown_fields`, `the_page_runs_nothing_but_itself` |
//!
//! # Invariants
//!
//! * Each test has a server of its own, on free ports, in a folder of its own.
//! * A test awaits what it wants to see. Nothing sleeps.

#![cfg(feature = "server")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod auth;
mod groups;
mod harness;
mod history;
mod metrics;
mod openapi;
mod operations;
mod peers;
