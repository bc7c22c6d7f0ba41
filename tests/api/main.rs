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
//! | **Messages** | `messages` |
//! | from the system or as a peer, to peers | `a_message_of_the_system_reaches_who_is_online_and_waits_for_who_is_not`, `a_message_in_the_name_of_a_peer_is_one_of_its_own` |
//! | to a group, transient, with a time to live | `a_message_to_a_group_reaches_its_members`, `who_sends_to_a_group_is_none_of_its_own_recipients`, `a_transient_message_is_for_those_online_and_never_stored`, `a_transient_message_to_a_group_waits_for_nobody`, `a_transient_message_in_the_name_of_a_peer_is_one_of_its_own`, `a_message_is_not_delivered_when_its_time_to_live_is_over` |
//! | bounds and refusals | `what_is_no_message_is_refused_and_nothing_is_sent`, `nothing_is_sent_to_the_back_end_itself` |
//! | `Idempotency-Key`, in `repeats` | `a_request_with_an_idempotency_key_is_one_message_however_often_it_comes`, `an_idempotency_key_is_forgotten_after_a_day`, `an_idempotency_key_has_255_visible_characters_and_not_one_more`, `a_push_to_an_alias_that_comes_again_is_the_same_message_for_each_peer`, `a_push_that_comes_again_is_the_same_though_its_alias_has_another_device_by_then` |
//! | batches, in `batches` | `an_idempotency_key_names_each_message_of_a_batch_at_its_place`, `each_message_of_a_batch_has_an_outcome_of_its_own_and_they_keep_their_order`, `a_batch_has_a_thousand_messages_and_not_one_more`, `a_batch_has_8_mib_and_not_one_byte_more` |
//! | recall | `a_recalled_message_is_taken_back_from_everybody`, `what_was_not_sent_cannot_be_recalled` |
//! | **Aliases** | `aliases` |
//! | bound, kept and looked up both ways | `an_alias_is_looked_up_both_ways_and_outlives_a_restart`, `an_alias_and_a_device_may_have_any_name` |
//! | one alias a device, ten devices an alias | `a_device_has_one_alias_and_a_new_one_takes_its_place`, `an_alias_has_ten_devices_and_not_one_more` |
//! | many at once | `a_binding_that_is_refused_holds_up_no_other`, `a_thousand_bindings_come_at_once_and_not_one_more` |
//! | unbound: one device, all of an alias | `an_alias_is_taken_from_one_device_or_from_all` |
//! | **Push (E2, Getui)** | `push` |
//! | a device registers by itself and gets a CID | `a_device_registers_by_itself_and_gets_a_cid` |
//! | a message is routed to one CID | `a_push_to_one_cid_reaches_that_device_and_no_other`, `a_push_to_a_cid_that_is_away_waits_for_that_device`, `a_push_to_a_device_that_has_logged_out_is_for_nobody` |
//! | the client sends the receipt by itself | `a_client_acknowledges_by_itself_and_the_sending_peer_hears_of_the_delivery` |
//! | an alias bound to a CID, from the client, kept by the platform | `a_client_binds_its_alias_and_is_reached_by_it` |
//! | bound from the server | `the_back_end_binds_an_alias_with_its_key_and_pushes_by_it` |
//! | push to an alias | `a_push_to_an_alias_reaches_each_of_its_devices_once_and_no_other` |
//! | push to a single user | `a_push_to_a_single_user_reaches_all_its_devices` |
//! | pass-through payload | `a_payload_is_passed_through_byte_by_byte` |
//! | offline pushes | `an_offline_push_waits_until_its_time_to_live_is_over` |
//! | the full flow but for receipt URLs, and the reply | `two_clients_talk_by_way_of_the_back_end_and_hear_of_their_deliveries` |
//! | **Upstream (E2)** | `upstream` |
//! | client, platform, back end, platform, client | `a_client_sends_to_the_back_end_and_hears_that_it_accepts`, `a_client_that_is_away_hears_later_that_its_message_was_refused`, `what_the_back_end_does_not_take_within_a_day_counts_as_refused` |
//! | listed and settled | `what_waits_is_listed_in_pages_the_oldest_first`, `what_does_not_wait_for_the_back_end_cannot_be_settled` |
//! | **Peers** | `peers` |
//! | status of many peers | `the_status_of_many_peers_is_told_at_once`, `a_thousand_peers_may_be_asked_about_and_not_one_more`, `those_online_before_a_restart_count_as_online_for_the_grace` |
//! | sessions and devices of a peer | `a_peer_is_told_with_its_sessions_and_devices`, `a_device_is_told_with_the_alias_that_reaches_its_peer`, `a_peer_that_never_came_is_off_line_and_has_nothing` |
//! | unread (E5: single chats) | `unread_counts_single_chats_and_groups_for_themselves`, `all_that_is_unread_is_told_however_many_conversations_it_is_in` |
//! | kick, with a reason | `who_is_kicked_hears_why_and_may_come_back`, `the_reason_of_a_kick_has_200_bytes_and_not_one_more` |
//! | block and unblock | `who_is_blocked_hears_it_and_opens_nothing_until_it_is_not`, `those_blocked_are_listed_in_pages` |
//! | **Groups** | `groups` |
//! | create, read, list, delete | `a_group_is_made_and_read_as_it_was_made`, `a_group_with_nothing_said_is_empty_and_has_the_usual_rules`, `what_is_no_group_is_refused`, `all_groups_are_listed_in_pages`, `a_deleted_group_is_no_more_and_its_members_hear_it` |
//! | members, who are told | `members_are_told_who_comes_and_goes_though_the_back_end_did_it`, `a_group_has_a_thousand_members_and_not_one_more`, `the_back_end_itself_is_no_member`, `the_back_end_may_do_what_members_may_not` |
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
//! | **Endpoints of webhooks** | `endpoints` |
//! | made, read, changed, removed | `an_endpoint_is_made_and_told_and_its_secret_is_shown_once`, `an_endpoint_is_changed_and_survives_a_restart_and_is_removed`, `what_is_no_endpoint_is_refused`, `an_endpoint_of_the_settings_is_changed_by_them_alone` |
//! | paused, resumed, replayed, pinged | `who_is_paused_hears_nothing_and_misses_nothing`, `a_ping_tells_that_nobody_answers` |
//! | secrets, letters | `a_rotated_secret_signs_beside_the_one_of_before_until_that_is_forgotten`, `what_an_endpoint_refuses_is_a_letter_that_is_sent_again_or_dropped` |
//! | **The pre-send hook** | `hook` |
//! | allow, replace, refuse with a code | `a_message_is_allowed_replaced_or_refused_with_a_code_that_its_sender_sees`, `what_a_session_sends_keeps_its_order` |
//! | who is asked about | `transient_messages_are_asked_about_and_those_of_the_back_end_are_not` |
//! | no answer | `an_answer_that_means_nothing_is_an_error`, `a_back_end_that_does_not_answer_in_time_has_the_outcome_that_was_set`, `too_many_questions_at_once_are_not_asked_and_hold_up_nobody` |
//! | **Bounds of the server** | `bounds` |
//! | the log is full | `when_the_log_is_full_what_fills_it_is_refused_and_all_else_goes_on` |
//! | too much to do | `a_group_that_changes_too_fast_is_busy_for_a_while` |
//! | **The clock** | `clock` |
//! | set back by an hour | `an_hour_back_holds_up_neither_presence_nor_repeats_nor_delivery` |
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

mod aliases;
mod auth;
mod batches;
mod bounds;
mod clock;
mod endpoints;
mod groups;
mod harness;
mod history;
mod hook;
mod messages;
mod metrics;
mod openapi;
mod operations;
mod peers;
mod push;
mod receiver;
mod repeats;
mod upstream;
